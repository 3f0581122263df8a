-- The log: entries in one order under one Merkle root, and what waits to get there.
--
-- cf_broker may stage entries, store checkpoints and read. Only the functions below,
-- which run as cf_sequencer, write entries, heads and tree nodes, and they refuse
-- anything that does not continue the log exactly where it ends. Nobody changes or
-- deletes an entry: cf_sequencer holds no such right, and a trigger stops the owner.
--
-- The caller computes hashes and frontier (broker/effects/ledger) while it holds the
-- head's row lock; signatures of entries are verified there too. What the database
-- cannot check, the signer does: it signs no root that does not follow from the last.
--
-- Source: docs/adr/0007; RFC 9162 section 2.1; C2SP tlog-tiles for the stored levels.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cf_sequencer') THEN
        CREATE ROLE cf_sequencer NOLOGIN;
    END IF;
    -- The owner hands the functions over to it, here and in later migrations.
    IF NOT pg_has_role(current_user, 'cf_sequencer', 'SET') THEN
        EXECUTE format(
            'GRANT cf_sequencer TO %I WITH INHERIT FALSE, SET TRUE', current_user
        );
    END IF;
END
$$;

-- Entries that a committed transaction has made, and that are not in the log yet. Rows
-- live for milliseconds, so the table is vacuumed by count and not by share.
CREATE TABLE audit_stage (
    stage_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log       text NOT NULL DEFAULT 'main' CHECK (length(log) BETWEEN 1 AND 100),
    entry_id  uuid NOT NULL UNIQUE,
    leaf      bytea NOT NULL CHECK (octet_length(leaf) BETWEEN 1 AND 65536),
    staged_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Staged rows that are no entry of ours (a signature does not verify): kept as evidence.
CREATE TABLE audit_refused (
    stage_id   bigint PRIMARY KEY,
    log        text NOT NULL,
    entry_id   uuid NOT NULL,
    leaf       bytea NOT NULL,
    problem    text NOT NULL,
    staged_at  timestamptz NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE audit_entry (
    log           text NOT NULL,
    seq           bigint NOT NULL CHECK (seq >= 0),
    entry_id      uuid NOT NULL UNIQUE,
    -- Copied out of the signed entry so that it can be searched; proves nothing. The
    -- action that it is about, or else the identity.
    about_id      uuid,
    leaf          bytea NOT NULL CHECK (octet_length(leaf) BETWEEN 1 AND 65536),
    leaf_hash     bytea NOT NULL
                  GENERATED ALWAYS AS (sha256('\x00'::bytea || leaf)) STORED,
    integrated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (log, seq)
);
CREATE INDEX audit_entry_about ON audit_entry (about_id, seq)
    WHERE about_id IS NOT NULL;

-- The roots of the perfect subtrees that a log consists of, largest first: one for each
-- bit that is set in its size.
CREATE TABLE audit_head (
    log        text PRIMARY KEY CHECK (length(log) BETWEEN 1 AND 100),
    size       bigint NOT NULL CHECK (size >= 0),
    frontier   bytea[] NOT NULL,
    root       bytea NOT NULL CHECK (octet_length(root) = 32),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (cardinality(frontier) = bit_count(size::bit(64)))
);

-- Roots of complete subtrees of 2^8, 2^16, ... leaves: with these, a proof in a log of
-- n entries reads at most 255 hashes for each 8 levels of the tree.
CREATE TABLE audit_node (
    log   text NOT NULL,
    level smallint NOT NULL CHECK (level BETWEEN 8 AND 48 AND level % 8 = 0),
    index bigint NOT NULL CHECK (index >= 0),
    hash  bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (log, level, index)
);

-- Signed heads, as notes. Whoever reads one verifies it.
CREATE TABLE audit_checkpoint (
    log       text NOT NULL,
    size      bigint NOT NULL CHECK (size >= 0),
    note      text NOT NULL CHECK (octet_length(note) BETWEEN 1 AND 65536),
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (log, size)
);

CREATE FUNCTION audit_never_changes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'CF002';
END
$$;
CREATE TRIGGER audit_entry_only_grows
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_never_changes();
CREATE TRIGGER audit_node_only_grows
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_node
    FOR EACH STATEMENT EXECUTE FUNCTION audit_never_changes();
CREATE TRIGGER audit_checkpoint_only_grows
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION audit_never_changes();

-- Lock a log's head until the transaction ends, and return it with what waits: staged
-- rows by age, whether the log has an entry of that id already, and whether the row is
-- older than a minute.
--
-- p_wanted    staged entries that must be among the result if they are there
-- p_sweep_max how many others to return, oldest first
-- p_wait      false: return no row if somebody else is sequencing this log
CREATE FUNCTION audit_lock(
    p_log text, p_wanted uuid[], p_sweep_max integer, p_wait boolean
) RETURNS TABLE (
    size bigint, frontier bytea[], root bytea,
    stage_ids bigint[], entry_ids uuid[], leaves bytea[],
    known boolean[], overdue boolean[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_key bigint := hashtextextended('audit_head:' || p_log, 0);
BEGIN
    IF p_sweep_max NOT BETWEEN 0 AND 1000 OR cardinality(p_wanted) > 1000 THEN
        RAISE EXCEPTION 'more than 1000 staged entries asked for'
            USING ERRCODE = 'CF001';
    END IF;
    -- A replica that stops in the middle holds up the others for seconds, not for ever.
    PERFORM set_config('lock_timeout', '3s', true);
    PERFORM set_config('idle_in_transaction_session_timeout', '3s', true);
    -- The advisory lock only spares idle sweepers the queue; the row lock decides.
    IF p_wait THEN
        PERFORM pg_advisory_xact_lock(v_key);
    ELSIF NOT pg_try_advisory_xact_lock(v_key) THEN
        RETURN;
    END IF;
    INSERT INTO public.audit_head AS h (log, size, frontier, root)
        SELECT p_log, 0, '{}', sha256('')
        WHERE NOT EXISTS (SELECT FROM public.audit_head h WHERE h.log = p_log)
        ON CONFLICT DO NOTHING;
    SELECT h.size, h.frontier, h.root INTO STRICT size, frontier, root
        FROM public.audit_head h WHERE h.log = p_log FOR UPDATE;
    -- A statement of its own: it sees what was committed while we waited.
    IF p_sweep_max > 0 OR cardinality(p_wanted) > 0 THEN
        SELECT array_agg(s.stage_id ORDER BY s.stage_id),
               array_agg(s.entry_id ORDER BY s.stage_id),
               array_agg(s.leaf ORDER BY s.stage_id),
               array_agg(EXISTS (SELECT FROM public.audit_entry e
                                 WHERE e.entry_id = s.entry_id) ORDER BY s.stage_id),
               array_agg(s.staged_at < clock_timestamp() - interval '1 minute'
                         ORDER BY s.stage_id)
            INTO stage_ids, entry_ids, leaves, known, overdue
            FROM public.audit_stage s
            WHERE s.log = p_log
              AND (s.entry_id = ANY (p_wanted)
                   OR s.stage_id IN (SELECT o.stage_id FROM public.audit_stage o
                                     WHERE o.log = p_log
                                     ORDER BY o.stage_id LIMIT p_sweep_max));
    END IF;
    RETURN NEXT;
END
$$;

-- Append entries to a log that has exactly p_size of them. Call audit_lock before.
--
-- p_frontier, p_root   the log's new frontier and root
-- p_node_*             the subtrees at levels 8, 16, ... that are now complete
-- p_stage_ids          staged rows that these entries came from
--
-- Returns the new size.
CREATE FUNCTION audit_append(
    p_log text, p_size bigint,
    p_entry_ids uuid[], p_about_ids uuid[], p_leaves bytea[],
    p_frontier bytea[], p_root bytea,
    p_node_levels smallint[], p_node_indexes bigint[], p_node_hashes bytea[],
    p_stage_ids bigint[]
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count integer := cardinality(p_entry_ids);
    v_size bigint;
BEGIN
    SELECT h.size INTO v_size FROM public.audit_head h WHERE h.log = p_log FOR UPDATE;
    IF v_size IS DISTINCT FROM p_size THEN
        RAISE EXCEPTION 'the log has % entries, not %', v_size, p_size
            USING ERRCODE = 'CF001';
    END IF;
    IF v_count NOT BETWEEN 1 AND 4000
       OR cardinality(p_leaves) <> v_count OR cardinality(p_about_ids) <> v_count
       OR cardinality(p_node_levels) <> cardinality(p_node_indexes)
       OR cardinality(p_node_levels) <> cardinality(p_node_hashes)
       OR EXISTS (SELECT FROM unnest(p_frontier) f WHERE octet_length(f) <> 32)
       OR EXISTS (SELECT FROM unnest(p_node_levels, p_node_indexes) n (level, index)
                  WHERE (index + 1) << level NOT BETWEEN p_size + 1
                                                     AND p_size + v_count)
    THEN
        RAISE EXCEPTION 'the batch is not well formed' USING ERRCODE = 'CF001';
    END IF;
    -- Whatever the session says: nothing is done on an entry that a crash could lose.
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    INSERT INTO public.audit_entry (log, seq, entry_id, about_id, leaf)
        SELECT p_log, p_size + e.position - 1, e.entry_id, e.about_id, e.leaf
        FROM unnest(p_entry_ids, p_about_ids, p_leaves)
             WITH ORDINALITY AS e (entry_id, about_id, leaf, position);
    INSERT INTO public.audit_node (log, level, index, hash)
        SELECT p_log, n.level, n.index, n.hash
        FROM unnest(p_node_levels, p_node_indexes, p_node_hashes)
             AS n (level, index, hash);
    UPDATE public.audit_head h
        SET size = p_size + v_count, frontier = p_frontier, root = p_root,
            updated_at = clock_timestamp()
        WHERE h.log = p_log;
    -- A staged row goes only when the very same bytes are in the log.
    DELETE FROM public.audit_stage s
        WHERE s.stage_id = ANY (p_stage_ids)
          AND EXISTS (SELECT FROM public.audit_entry e
                      WHERE e.entry_id = s.entry_id AND e.leaf = s.leaf);
    RETURN p_size + v_count;
END
$$;

-- Remove staged rows whose very bytes the log already has. Returns how many.
CREATE FUNCTION audit_unstage(p_stage_ids bigint[]) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM public.audit_stage s
        WHERE s.stage_id = ANY (p_stage_ids)
          AND EXISTS (SELECT FROM public.audit_entry e
                      WHERE e.entry_id = s.entry_id AND e.leaf = s.leaf)
        RETURNING 1
    )
    SELECT count(*) FROM gone;
$$;

-- Move staged rows that are no entries aside, where they block nobody and stay.
CREATE FUNCTION audit_refuse(p_stage_ids bigint[], p_problems text[]) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH refused AS (
        DELETE FROM public.audit_stage s
        USING unnest(p_stage_ids, p_problems) AS r (stage_id, problem)
        WHERE s.stage_id = r.stage_id
        RETURNING s.stage_id, s.log, s.entry_id, s.leaf, r.problem, s.staged_at
    ), kept AS (
        INSERT INTO public.audit_refused
            (stage_id, log, entry_id, leaf, problem, staged_at)
        SELECT * FROM refused
        RETURNING 1
    )
    SELECT count(*) FROM kept;
$$;

GRANT USAGE ON SCHEMA public TO cf_broker, cf_sequencer;
GRANT SELECT ON audit_stage, audit_refused, audit_entry, audit_head, audit_node,
    audit_checkpoint TO cf_broker, cf_sequencer;
GRANT INSERT (log, entry_id, leaf) ON audit_stage TO cf_broker;
GRANT INSERT (log, size, note) ON audit_checkpoint TO cf_broker;
GRANT DELETE ON audit_stage TO cf_sequencer;
GRANT INSERT ON audit_entry, audit_head, audit_node, audit_refused TO cf_sequencer;
GRANT UPDATE ON audit_head TO cf_sequencer;

REVOKE EXECUTE ON FUNCTION
    audit_never_changes(),
    audit_lock(text, uuid[], integer, boolean),
    audit_append(text, bigint, uuid[], uuid[], bytea[], bytea[], bytea, smallint[],
                 bigint[], bytea[], bigint[]),
    audit_unstage(bigint[]),
    audit_refuse(bigint[], text[])
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    audit_lock(text, uuid[], integer, boolean),
    audit_append(text, bigint, uuid[], uuid[], bytea[], bytea[], bytea, smallint[],
                 bigint[], bytea[], bigint[]),
    audit_unstage(bigint[]),
    audit_refuse(bigint[], text[])
    TO cf_broker;

-- A new owner must be allowed to create in the schema at the moment it is named.
GRANT CREATE ON SCHEMA public TO cf_sequencer;
ALTER FUNCTION audit_lock(text, uuid[], integer, boolean) OWNER TO cf_sequencer;
ALTER FUNCTION audit_append(text, bigint, uuid[], uuid[], bytea[], bytea[], bytea,
    smallint[], bigint[], bytea[], bigint[]) OWNER TO cf_sequencer;
ALTER FUNCTION audit_unstage(bigint[]) OWNER TO cf_sequencer;
ALTER FUNCTION audit_refuse(bigint[], text[]) OWNER TO cf_sequencer;
REVOKE CREATE ON SCHEMA public FROM cf_sequencer;
