-- Reads, many at once: decided ones and finished ones of one group commit, together.
--
-- Their entries are integrated by the transaction that calls this (effects/ledger), so
-- everything that one batch locks is locked here, once and in the order of actions.sql:
-- two batches, and a batch and any other transaction, never wait for each other in turn.

-- All lines of what is read in these documents.
CREATE FUNCTION reads_lines(p_docs jsonb[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$
  SELECT jsonb_agg(l.line) FROM unnest(p_docs) AS d(doc),
         jsonb_array_elements(d.doc -> 'readings') AS l(line)
$$;

CREATE FUNCTION reads_lock(p_docs jsonb[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  ids   uuid[];
  lines jsonb := reads_lines(p_docs);
BEGIN
  SELECT coalesce(array_agg(i.id ORDER BY i.id), '{}') INTO ids
    FROM (SELECT DISTINCT (d.doc ->> 'action_id')::uuid AS id
            FROM unnest(p_docs) AS d(doc) WHERE d.doc ? 'action_id') AS i;
  PERFORM FROM action a WHERE a.action_id = ANY (ids) ORDER BY a.action_id FOR UPDATE;
  FOR i IN 1..cardinality(ids) LOOP
    PERFORM reservation_lock(ids[i]);
  END LOOP;
  IF lines IS NOT NULL OR ids <> '{}' THEN
    PERFORM readings_lock(lines, ids);
  END IF;
  PERFORM FROM interaction n
    WHERE n.interaction_id IN (
      SELECT a.interaction_id FROM unnest(p_docs) AS d(doc)
        JOIN action a ON a.action_id = (d.doc ->> 'action_id')::uuid
       WHERE d.doc -> 'bind' <> 'null')
    ORDER BY n.interaction_id
      FOR NO KEY UPDATE;
END
$$;

-- Store decided reads and outcomes of reads. A document with "action" is one as
-- action_submit takes it, without entries: it is counted, and false where one of its
-- lines has no room; then nothing of it is stored. Any other is one as action_finish
-- takes it, and "readings": what it brought beside its first record.
CREATE FUNCTION action_reads(p_docs jsonb[]) RETURNS boolean[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  new_lines jsonb;
  doc       jsonb;
  kept      boolean;
  ended     jsonb[] := '{}';
  all_      boolean[] := '{}';
BEGIN
  SELECT reads_lines(array_agg(d.doc)) INTO new_lines
    FROM unnest(p_docs) AS d(doc) WHERE d.doc ? 'action';
  IF new_lines IS NOT NULL THEN
    PERFORM budgets_current(new_lines);
  END IF;
  PERFORM reads_lock(p_docs);
  FOREACH doc IN ARRAY p_docs LOOP
    IF doc ? 'action' THEN
      kept := doc -> 'readings' = '[]' OR readings_take(doc -> 'readings');
      IF kept THEN
        PERFORM keep(doc -> 'payloads', '[]');
        PERFORM action_insert(doc -> 'action');
      END IF;
    ELSE
      kept := action_end(doc);
      IF kept THEN
        ended := ended || doc;
        PERFORM readings_add(doc -> 'readings');
      END IF;
    END IF;
    all_ := all_ || kept;
  END LOOP;
  PERFORM ceilings_keep(ended);
  RETURN all_;
END
$$;

REVOKE ALL ON FUNCTION reads_lines, reads_lock, action_reads FROM PUBLIC;
GRANT EXECUTE ON FUNCTION action_reads TO cf_broker;
