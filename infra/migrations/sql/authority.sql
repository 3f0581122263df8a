-- Who may do what: signed rows, revocation epochs, running instances, single uses.
--
-- A row of authority counts only while its signature verifies (broker/registry), so that
-- writing here grants nothing; the columns beside the JWS only find it. cf_broker may add
-- revisions and read them; nobody changes or deletes one. Epochs only ever grow, and only
-- through revoke(). Everything that changes authority stages its entry in the same
-- transaction, so that no change is without evidence, and none waits for the log.

CREATE TABLE authority (
  kind       text        NOT NULL CHECK (kind ~ '^[a-z_]{1,32}$'),
  id         text        NOT NULL CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,63}$'),
  revision   integer     NOT NULL CHECK (revision >= 1),
  jws        text        NOT NULL CHECK (length(jws) BETWEEN 1 AND 1048576),
  created_at timestamptz NOT NULL DEFAULT now(),
  about      text[]      NOT NULL DEFAULT '{}' CHECK (cardinality(about) <= 50),
  until      timestamptz,
  PRIMARY KEY (kind, id, revision)
);
CREATE INDEX authority_until ON authority (kind, until) WHERE until IS NOT NULL;
COMMENT ON COLUMN authority.about IS
  'With until, a hint that finds rows (broker/registry/records.py); it is not signed.';
COMMENT ON TABLE authority IS
  'Signed revisions; the highest that verifies counts. A row that does not verify does '
  'not exist.';

CREATE FUNCTION authority_never_changes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'authority is only ever added to' USING ERRCODE = '42501';
END
$$;
CREATE TRIGGER authority_rows_never_change
  BEFORE UPDATE OR DELETE ON authority
  FOR EACH ROW EXECUTE FUNCTION authority_never_changes();
CREATE TRIGGER authority_is_never_emptied
  BEFORE TRUNCATE ON authority
  FOR EACH STATEMENT EXECUTE FUNCTION authority_never_changes();

CREATE TABLE revocation_epoch (
  scope      text        PRIMARY KEY CHECK (length(scope) BETWEEN 3 AND 200),
  epoch      bigint      NOT NULL CHECK (epoch >= 1),
  changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE revocation_epoch IS
  'What a token or warrant was issued under is void once the scope has a higher epoch. '
  'A scope that was never moved stands at 0.';

CREATE FUNCTION revocation_only_grows() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.scope = OLD.scope AND NEW.epoch > OLD.epoch THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'an epoch only ever grows' USING ERRCODE = '42501';
END
$$;
CREATE TRIGGER revocation_epoch_only_grows
  BEFORE UPDATE OR DELETE ON revocation_epoch
  FOR EACH ROW EXECUTE FUNCTION revocation_only_grows();
CREATE TRIGGER revocation_epoch_is_never_emptied
  BEFORE TRUNCATE ON revocation_epoch
  FOR EACH STATEMENT EXECUTE FUNCTION revocation_only_grows();

-- Move the epochs of some scopes, in the order of their names: two revocations at once
-- cannot deadlock. It runs as the owner: the broker itself may set no epoch.
CREATE FUNCTION revoke_scopes(p_scopes text[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  INSERT INTO public.revocation_epoch AS e (scope, epoch)
  SELECT DISTINCT s.scope, 1 FROM unnest(p_scopes) AS s (scope) ORDER BY 1
  ON CONFLICT (scope) DO UPDATE SET epoch = e.epoch + 1, changed_at = now();
  RETURN (
    SELECT coalesce(jsonb_object_agg(e.scope, e.epoch), '{}'::jsonb)
    FROM public.revocation_epoch AS e WHERE e.scope = ANY (p_scopes)
  );
END
$$;

-- Stage entries: [{"entry_id", "leaf": base64}].
CREATE FUNCTION authority_stage(p_entries jsonb) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
  INSERT INTO public.audit_stage (entry_id, leaf)
  SELECT e.entry_id, decode(e.leaf, 'base64')
    FROM jsonb_to_recordset(p_entries) AS e(entry_id uuid, leaf text);
$$;

-- Add one revision, revoke what it narrows, and stage its entry; true, or false if
-- somebody else added this revision first.
CREATE FUNCTION authority_put(
  p_kind     text,
  p_id       text,
  p_revision integer,
  p_jws      text,
  p_scopes   text[],
  p_entries  jsonb,
  p_about    text[],
  p_until    timestamptz
) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  INSERT INTO public.authority (kind, id, revision, jws, about, until)
  VALUES (p_kind, p_id, p_revision, p_jws, p_about, p_until)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF cardinality(p_scopes) > 0 THEN
    PERFORM public.revoke_scopes(p_scopes);
  END IF;
  PERFORM public.authority_stage(p_entries);
  RETURN true;
END
$$;

-- Revoke scopes that no row stands for (grants, instances, everything), with an entry.
CREATE FUNCTION authority_revoke(p_scopes text[], p_entries jsonb) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  PERFORM public.authority_stage(p_entries);
  RETURN public.revoke_scopes(p_scopes);
END
$$;

-- The newest revision of one row (0 if there is none) and some epochs, in one statement.
CREATE FUNCTION authority_now(p_kind text, p_id text, p_scopes text[])
RETURNS TABLE (revision integer, epochs jsonb)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT
    coalesce((SELECT max(a.revision) FROM public.authority AS a
               WHERE a.kind = p_kind AND a.id = p_id), 0),
    (SELECT coalesce(jsonb_object_agg(e.scope, e.epoch), '{}'::jsonb)
       FROM public.revocation_epoch AS e WHERE e.scope = ANY (p_scopes));
$$;

-- The newest revisions that a decision about a chain of agents looks at, and epochs (with
-- those of standing approvals, under which a warrant may be issued):
-- {"heads": [[kind, id, revision], ...], "epochs": {...}}. The first agent is the one that
-- asks. Of standing approvals, those that once named it and have not ended; broker and
-- database need not agree to the second when that is.
CREATE FUNCTION authority_view(p_agents text[], p_people text[], p_scopes text[])
RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
  WITH living AS MATERIALIZED (
    SELECT DISTINCT s.id FROM public.authority AS s
     WHERE s.kind = 'standing_approval' AND s.until > now() - interval '1 minute'
       AND p_agents[1] = ANY (s.about))
  SELECT jsonb_build_object(
    'heads', (
      SELECT coalesce(jsonb_agg(jsonb_build_array(h.kind, h.id, h.revision)), '[]')
        FROM (SELECT a.kind, a.id, max(a.revision) AS revision
                FROM public.authority AS a
               WHERE (a.kind = 'agent' AND a.id = ANY (p_agents))
                  OR (a.kind IN ('policy', 'kill_switch') AND a.id = 'main')
                  OR a.kind = 'limit'
                  OR (a.kind = 'standing_approval'
                      AND a.id IN (SELECT l.id FROM living AS l))
                  OR (a.kind IN ('person', 'approval_right') AND a.id = ANY (p_people))
               GROUP BY a.kind, a.id) AS h),
    'epochs', (
      SELECT coalesce(jsonb_object_agg(e.scope, e.epoch), '{}')
        FROM public.revocation_epoch AS e
       WHERE e.scope = ANY (p_scopes)
          OR e.scope IN (SELECT 'standing_approval:' || l.id FROM living AS l)));
$$;

-- How many rows of a kind wait that are about somebody: they have not ended, and nothing
-- came after them.
CREATE FUNCTION authority_waiting(p_kind text, p_about text) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT count(*) FROM public.authority AS a
   WHERE a.kind = p_kind AND a.until > now() AND p_about = ANY (a.about)
     AND NOT EXISTS (SELECT FROM public.authority AS n
                      WHERE n.kind = a.kind AND n.id = a.id AND n.revision > a.revision);
$$;

-- What an identity runs as: one row per key that it proves, and when keys were used.
-- Neither decides anything: an instance's id is computed from its key.
CREATE TABLE instance (
  instance_id uuid        PRIMARY KEY,
  subject     text        NOT NULL CHECK (length(subject) <= 64),
  jkt         text        NOT NULL CHECK (length(jkt) = 43),
  first_seen  timestamptz NOT NULL DEFAULT now(),
  last_seen   timestamptz NOT NULL DEFAULT now(),
  tokens      bigint      NOT NULL DEFAULT 1
) WITH (fillfactor = 80);
CREATE INDEX instance_by_subject ON instance (subject, last_seen);

CREATE TABLE key_use (
  subject    text        NOT NULL CHECK (length(subject) <= 64),
  kid        text        NOT NULL CHECK (length(kid) = 43),
  first_used timestamptz NOT NULL DEFAULT now(),
  last_used  timestamptz NOT NULL DEFAULT now(),
  uses       bigint      NOT NULL DEFAULT 1,
  PRIMARY KEY (subject, kid)
) WITH (fillfactor = 80);

-- What must never be seen twice: client and channel assertions always, DPoP proofs
-- while Valkey cannot be trusted to remember them.
CREATE TABLE seen_once (
  name       bytea       PRIMARY KEY CHECK (octet_length(name) = 32),
  expires_at timestamptz NOT NULL
);
CREATE INDEX seen_once_expires_at ON seen_once (expires_at);

-- Take an identity's token request in: remember its assertion, its instance and its key.
--
-- Returns {"word": ok | replayed | crowded, "epochs": {...}}; anything but ok leaves
-- nothing behind but, for crowded, the used-up assertion.
CREATE FUNCTION token_admit(
  p_subject       text,
  p_use           bytea,
  p_until         timestamptz,
  p_kid           text,
  p_instance      uuid,
  p_jkt           text,
  p_instances_max integer,
  p_scopes        text[]
) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  INSERT INTO public.seen_once (name, expires_at) VALUES (p_use, p_until)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN '{"word": "replayed"}'::jsonb;
  END IF;
  UPDATE public.instance SET last_seen = now(), tokens = tokens + 1
   WHERE instance_id = p_instance;
  IF NOT FOUND THEN
    IF (SELECT count(*) FROM public.instance AS i
         WHERE i.subject = p_subject AND i.last_seen > now() - interval '1 hour')
       >= p_instances_max THEN
      RETURN '{"word": "crowded"}'::jsonb;
    END IF;
    INSERT INTO public.instance (instance_id, subject, jkt)
    VALUES (p_instance, p_subject, p_jkt) ON CONFLICT DO NOTHING;
  END IF;
  INSERT INTO public.key_use AS k (subject, kid) VALUES (p_subject, p_kid)
  ON CONFLICT (subject, kid) DO UPDATE SET last_used = now(), uses = k.uses + 1;
  RETURN jsonb_build_object('word', 'ok', 'epochs', (
    SELECT coalesce(jsonb_object_agg(e.scope, e.epoch), '{}'::jsonb)
      FROM public.revocation_epoch AS e WHERE e.scope = ANY (p_scopes)));
END
$$;

-- Who remembers DPoP proofs now. The epoch moves whenever a memory was lost or the
-- keeper changed; proofs of before must then carry a nonce that they cannot have.
CREATE TABLE replay_epoch (
  one        boolean     PRIMARY KEY DEFAULT true CHECK (one),
  epoch      bigint      NOT NULL CHECK (epoch >= 1),
  keeper     text        NOT NULL CHECK (keeper IN ('valkey', 'sql')),
  server     text        NOT NULL CHECK (length(server) <= 100),
  changed_at timestamptz NOT NULL
);
-- Nothing was ever accepted under the first epoch, so leaving it asks for no nonce.
INSERT INTO replay_epoch (epoch, keeper, server, changed_at)
VALUES (1, 'sql', '', '2000-01-01 00:00:00+00');

-- Move on from one epoch, if it is still the current one; return what holds now.
CREATE FUNCTION replay_move(p_from bigint, p_keeper text, p_server text)
RETURNS TABLE (epoch bigint, keeper text, server text, changed_at timestamptz)
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  UPDATE public.replay_epoch AS r
     SET epoch = r.epoch + 1, keeper = p_keeper, server = p_server,
         changed_at = CASE WHEN r.epoch = 1 AND r.server = '' AND NOT EXISTS
                                (SELECT FROM public.seen_once)
                           THEN r.changed_at ELSE clock_timestamp() END
   WHERE r.epoch = p_from;
  RETURN QUERY SELECT r.epoch, r.keeper, r.server, r.changed_at
                 FROM public.replay_epoch AS r;
END
$$;

-- Remember a single use: true if it is the first, false if not, null if the epoch is no
-- longer this one or somebody else is the keeper.
CREATE FUNCTION replay_first(p_name bytea, p_until timestamptz, p_epoch bigint)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  -- The share lock holds the epoch still until the use is committed.
  PERFORM FROM public.replay_epoch AS r
    WHERE r.epoch = p_epoch AND r.keeper = 'sql' FOR SHARE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  INSERT INTO public.seen_once (name, expires_at) VALUES (p_name, p_until)
  ON CONFLICT DO NOTHING;
  RETURN FOUND;
END
$$;

-- Delete up to 5000 uses whose artefact has ended; return how many.
CREATE FUNCTION seen_purge() RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
  WITH gone AS (
    DELETE FROM public.seen_once WHERE name IN (
      SELECT name FROM public.seen_once WHERE expires_at < now() LIMIT 5000)
    RETURNING 1
  )
  SELECT count(*) FROM gone;
$$;

REVOKE ALL ON FUNCTION
  revoke_scopes(text[]),
  authority_stage(jsonb),
  authority_put(text, text, integer, text, text[], jsonb, text[], timestamptz),
  authority_revoke(text[], jsonb),
  authority_now(text, text, text[]),
  authority_view(text[], text[], text[]),
  authority_waiting(text, text),
  token_admit(text, bytea, timestamptz, text, uuid, text, integer, text[]),
  replay_move(bigint, text, text),
  replay_first(bytea, timestamptz, bigint),
  seen_purge()
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  revoke_scopes(text[]),
  authority_stage(jsonb),
  authority_put(text, text, integer, text, text[], jsonb, text[], timestamptz),
  authority_revoke(text[], jsonb),
  authority_now(text, text, text[]),
  authority_view(text[], text[], text[]),
  authority_waiting(text, text),
  token_admit(text, bytea, timestamptz, text, uuid, text, integer, text[]),
  replay_move(bigint, text, text),
  replay_first(bytea, timestamptz, bigint),
  seen_purge()
TO cf_broker;
GRANT SELECT, INSERT ON authority TO cf_broker;
GRANT SELECT ON revocation_epoch TO cf_broker, cf_edge;
GRANT SELECT, INSERT, UPDATE ON instance, key_use TO cf_broker;
GRANT SELECT, INSERT ON seen_once TO cf_broker;
GRANT SELECT, UPDATE ON replay_epoch TO cf_broker;
