-- What a published policy does with the actions that wait for people.
--
-- Every waiting action is decided again by broker/republish.py; this function stores what
-- came of one of them, by compare-and-set on the version and the approval that were
-- looked at, so that any replica may do it, twice or half: nothing is done twice.
--
-- Order of locks: action row, approval row, then budgets, then audit_stage.

CREATE INDEX action_by_policy ON action (policy_version)
  WHERE state IN ('pending_approval', 'ready') AND approval_id IS NOT NULL;

-- p: {"action_id", "approval_before", "version_before", "version", "lines": [...],
--     "entries": [...], "payloads": [...],
--     "asked": null (carried) | {"approval": {...}, "request_payload", "expires_at"}}
-- Returns {"word": ok | over | stale | gone, "over": []}; only ok leaves anything behind.
-- What the action holds is taken again under the new limits, together or not at all.
CREATE FUNCTION action_redecide(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  mine     uuid := p ->> 'action_id';
  was      record;
  admitted jsonb;
BEGIN
  SELECT state, approval_id, policy_version INTO was
    FROM action WHERE action_id = mine FOR UPDATE;
  IF NOT FOUND OR was.state NOT IN ('pending_approval', 'ready')
     OR was.approval_id IS DISTINCT FROM (p ->> 'approval_before')::uuid
     OR was.policy_version <> (p ->> 'version_before')::integer THEN
    RETURN jsonb_build_object('word', 'gone');
  END IF;
  PERFORM FROM approval WHERE approval_id = was.approval_id FOR UPDATE;
  admitted := reserve(mine, p -> 'lines');
  IF NOT (admitted ->> 'admitted')::boolean THEN
    RETURN jsonb_build_object('over', admitted -> 'over', 'word',
      CASE WHEN admitted -> 'over' <> '[]' THEN 'over' ELSE 'stale' END);
  END IF;
  PERFORM keep(p -> 'payloads', p -> 'entries');
  UPDATE action SET policy_version = (p ->> 'version')::integer, updated_at = now()
   WHERE action_id = mine;
  IF p -> 'asked' <> 'null' THEN
    PERFORM action_ask_again(mine, was.approval_id, p -> 'asked');
  END IF;
  RETURN jsonb_build_object('word', 'ok');
END
$$;

-- End the old question as stale and put the new one; locks are held.
CREATE FUNCTION action_ask_again(p_action uuid, p_before uuid, p jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  UPDATE approval SET state = 'stale', ended_at = clock_timestamp()
   WHERE approval_id = p_before AND state IN ('pending', 'approved');
  INSERT INTO outbox (kind, topic, key)
  VALUES ('end', p_before, p_before::text) ON CONFLICT DO NOTHING;
  INSERT INTO approval (approval_id, action_id, digest, approvers_min, role, barred,
                        amount, currency, state, created_at, expires_at, next_at)
  SELECT a.approval_id, p_action, a.digest, a.approvers_min, a.role, a.barred, a.amount,
         a.currency, 'pending', a.created_at, a.expires_at, a.next_at
    FROM jsonb_to_record(p -> 'approval') AS a(approval_id uuid, digest text,
           approvers_min smallint, role text, barred text[], amount bigint,
           currency text, created_at timestamptz, expires_at timestamptz,
           next_at timestamptz);
  INSERT INTO outbox (kind, topic, key)
  VALUES ('start', (p #>> '{approval,approval_id}')::uuid,
          p #>> '{approval,approval_id}');
  UPDATE action
     SET state = 'pending_approval', decision = 'escalate', code = '',
         approval_id = (p #>> '{approval,approval_id}')::uuid,
         digest = p #>> '{approval,digest}',
         request_payload = (p ->> 'request_payload')::uuid,
         expires_at = (p #>> '{approval,expires_at}')::timestamptz
   WHERE action_id = p_action;
END
$$;

REVOKE ALL ON FUNCTION action_redecide, action_ask_again FROM PUBLIC;
GRANT EXECUTE ON FUNCTION action_redecide TO cf_broker;

-- What a shadow policy would have decided otherwise: one cursor and counts for each
-- revision of its signed row. Counts are a monitor and no evidence: a replay finds them
-- again from what was sealed.
CREATE TABLE policy_shadow (
  revision   integer     PRIMARY KEY,
  seen       uuid        NOT NULL,
  replayed   bigint      NOT NULL DEFAULT 0,
  left_out   bigint      NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE policy_shadow_flip (
  revision    integer NOT NULL REFERENCES policy_shadow,
  before      text    NOT NULL,
  after       text    NOT NULL,
  tool        text    NOT NULL,
  agent_id    text    NOT NULL,
  currency    text    NOT NULL,
  count       bigint  NOT NULL,
  minor_units numeric NOT NULL,
  PRIMARY KEY (revision, before, after, tool, agent_id, currency)
);

-- Add what was found between two ids, if the cursor still stands at the first; false if
-- another replica was faster. p_flips: [{"before", "after", "tool", "agent", "currency",
-- "count", "minor_units"}].
CREATE FUNCTION shadow_advance(
  p_revision integer, p_seen uuid, p_last uuid, p_replayed bigint, p_left_out bigint,
  p_flips jsonb
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  INSERT INTO policy_shadow (revision, seen) VALUES (p_revision, p_seen)
      ON CONFLICT DO NOTHING;
  UPDATE policy_shadow
     SET seen = p_last, replayed = replayed + p_replayed,
         left_out = left_out + p_left_out, updated_at = now()
   WHERE revision = p_revision AND seen = p_seen;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO policy_shadow_flip AS had (revision, before, after, tool, agent_id,
    currency, count, minor_units)
  SELECT p_revision, f.before, f.after, f.tool, f.agent, f.currency, f.count,
         f.minor_units
    FROM jsonb_to_recordset(p_flips) AS f(before text, after text, tool text,
           agent text, currency text, count bigint, minor_units numeric)
      ON CONFLICT (revision, before, after, tool, agent_id, currency) DO UPDATE
     SET count = had.count + EXCLUDED.count,
         minor_units = had.minor_units + EXCLUDED.minor_units;
  RETURN true;
END
$$;

REVOKE ALL ON FUNCTION shadow_advance FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shadow_advance TO cf_broker;
GRANT SELECT ON policy_shadow, policy_shadow_flip TO cf_broker;
