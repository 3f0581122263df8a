-- Canaries: actions that were made up, are asked like any other, and can never be
-- executed. The walls stand in the table of actions itself (actions.sql): the row of a
-- canary can be neither ready nor executing, and holds no warrant. Here: that it holds
-- no money either, when the next one is due, and which were judged.

CREATE FUNCTION canary_holds_nothing() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM reservation r WHERE r.action_id = NEW.action_id) THEN
    RAISE EXCEPTION 'a canary holds no money' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER canary_holds_nothing AFTER INSERT OR UPDATE ON action
  DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.kind = 'canary') EXECUTE FUNCTION canary_holds_nothing();

CREATE TABLE canary (
  action_id  uuid        PRIMARY KEY REFERENCES action,
  flaw       text        NOT NULL,
  seed       text        NOT NULL,
  planted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  judged_at  timestamptz
);
CREATE INDEX canary_unjudged ON canary (planted_at) WHERE judged_at IS NULL;

CREATE TABLE canary_clock (
  one     boolean     PRIMARY KEY DEFAULT true CHECK (one),
  next_at timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO canary_clock DEFAULT VALUES;

-- Whether one is due; then the next is due after p_pause_s. One replica gets it.
CREATE FUNCTION canary_due(p_pause_s double precision) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  WITH taken AS (
    UPDATE canary_clock SET next_at = clock_timestamp() + p_pause_s * interval '1 second'
     WHERE next_at <= clock_timestamp() RETURNING 1)
  SELECT EXISTS (SELECT FROM taken)
$$;

CREATE FUNCTION canary_planted(p_action uuid, p_flaw text, p_seed text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  INSERT INTO canary (action_id, flaw, seed) VALUES (p_action, p_flaw, p_seed)
$$;

-- Note that a canary was judged, with the entries that say so; false if it was before.
CREATE FUNCTION canary_judged(p_action uuid, p_entries jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  UPDATE canary SET judged_at = clock_timestamp()
   WHERE action_id = p_action AND judged_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM keep('[]', p_entries);
  RETURN true;
END
$$;

-- Tell of a right that was suspended: once for each time, to owners and to security.
CREATE FUNCTION notice_suspended(p_person uuid, p_key text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  INSERT INTO notice (kind, topic, key, role)
  VALUES ('suspended', p_person, p_key || ':owner', 'owner'),
         ('suspended', p_person, p_key || ':security', 'security')
      ON CONFLICT DO NOTHING
$$;

REVOKE ALL ON FUNCTION
  canary_holds_nothing, canary_due, canary_planted, canary_judged, notice_suspended
  FROM PUBLIC;
GRANT SELECT ON canary, card_view TO cf_broker;
GRANT EXECUTE ON FUNCTION canary_due, canary_planted, canary_judged, notice_suspended
  TO cf_broker;
