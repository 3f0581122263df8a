-- After the database was restored from a backup: what edges have sent since then is put
-- aside, and nothing is decided until somebody has compared it and said so, in a row of
-- authority of the kind `restored`.

-- An edge has sent an action that the restored rows still let be decided or executed:
-- nobody knows the end of it here. Its money stays held. Returns whether it was moved.
CREATE FUNCTION restore_hold(p_action uuid, p_warrant uuid, p_entries jsonb)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  was record;
BEGIN
  SELECT * INTO was FROM action WHERE action_id = p_action FOR UPDATE;
  IF NOT FOUND OR was.state NOT IN ('pending_approval', 'ready', 'executing')
     OR (was.state = 'executing' AND was.warrant_id = p_warrant) THEN
    RETURN false;
  END IF;
  UPDATE approval SET state = 'stale', ended_at = now()
   WHERE approval_id = was.approval_id AND state = 'pending';
  IF FOUND THEN
    INSERT INTO outbox (kind, topic, key)
    VALUES ('end', was.approval_id, was.approval_id::text) ON CONFLICT DO NOTHING;
  END IF;
  UPDATE reservation SET state = 'unknown', updated_at = now()
   WHERE action_id = p_action AND state IN ('held', 'executing');
  UPDATE action
     SET state = 'unknown', code = 'restored', warrant_id = p_warrant,
         lease_replica = NULL, lease_until = NULL, updated_at = now(),
         alarms = alarms || 'restored'::text
   WHERE action_id = p_action;
  PERFORM keep('[]', p_entries);
  RETURN true;
END
$$;

REVOKE ALL ON FUNCTION restore_hold FROM PUBLIC;
GRANT EXECUTE ON FUNCTION restore_hold TO cf_broker;
