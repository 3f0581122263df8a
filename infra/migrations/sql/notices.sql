-- Notices: what people are told, to whom it goes, and whether it was taken.
--
-- Nothing here gives anybody a right, and nothing waits for it: a row is made by the
-- transaction that it is about, and everything else happens beside the flow. Who is told
-- is read from signed rows; a notice names an approval, an action or a person, and holds
-- no personal data.

CREATE TABLE notice (
  notice_id  uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
  kind       text        NOT NULL CHECK (kind IN
    ('asked', 'reminder', 'escalated', 'expiring', 'expired', 'answered', 'unknown',
     'suspended', 'test')),
  topic      uuid        NOT NULL,
  key        text        NOT NULL DEFAULT '',
  role       text        NOT NULL DEFAULT '',
  person_id  text        NOT NULL DEFAULT '',
  tool       text        NOT NULL DEFAULT '',
  amount     bigint,
  currency   text,
  expires_at timestamptz,
  made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  spread_at  timestamptz,
  UNIQUE (kind, topic, key)
);
CREATE INDEX notice_unspread ON notice (made_at) WHERE spread_at IS NULL;
CREATE INDEX notice_by_age ON notice (made_at);

CREATE TABLE notice_delivery (
  delivery_id  uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
  notice_id    uuid        NOT NULL REFERENCES notice ON DELETE CASCADE,
  subscription text        NOT NULL,
  state        text        NOT NULL DEFAULT 'waiting' CHECK (state IN
    ('waiting', 'taken', 'refused', 'given_up', 'held_back', 'moot')),
  tries        smallint    NOT NULL DEFAULT 0,
  next_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  done_at      timestamptz,
  status       smallint    NOT NULL DEFAULT 0,
  code         text        NOT NULL DEFAULT '',
  UNIQUE (notice_id, subscription)
);
CREATE INDEX notice_delivery_due ON notice_delivery (next_at) WHERE state = 'waiting';
CREATE INDEX notice_delivery_by_subscription
  ON notice_delivery (subscription, made_at);

-- Make the notice of something about an approval, once.
CREATE FUNCTION notice_of_approval(
  p_approval uuid, p_kind text, p_key text, p_role text, p_person text
) RETURNS void
LANGUAGE sql
AS $$
  INSERT INTO notice (kind, topic, key, role, person_id, tool, amount, currency,
                      expires_at)
  SELECT p_kind, b.approval_id, p_key, p_role, p_person, a.tool, b.amount, b.currency,
         b.expires_at
    FROM approval b JOIN action a USING (action_id) WHERE b.approval_id = p_approval
      ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION notice_approval_begins() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  PERFORM notice_of_approval(NEW.approval_id, 'asked', '', NEW.role, '');
  RETURN NULL;
END
$$;
CREATE TRIGGER notice_approval_begins AFTER INSERT ON approval
  FOR EACH ROW EXECUTE FUNCTION notice_approval_begins();

CREATE FUNCTION notice_approval_expires() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  PERFORM notice_of_approval(NEW.approval_id, 'expired', '', NEW.role, '');
  RETURN NULL;
END
$$;
CREATE TRIGGER notice_approval_expires AFTER UPDATE OF state ON approval
  FOR EACH ROW WHEN (OLD.state = 'pending' AND NEW.state = 'expired')
  EXECUTE FUNCTION notice_approval_expires();

-- Reminders, escalations and answers: approvals.sql knows whom they are for.
CREATE FUNCTION notice_approval_goes_on() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  PERFORM notice_of_approval(
    NEW.approval_id, CASE NEW.kind WHEN 'answer' THEN 'answered' ELSE NEW.kind END,
    NEW.key, NEW.role, NEW.person_id);
  RETURN NULL;
END
$$;
CREATE TRIGGER notice_approval_goes_on AFTER INSERT ON approval_notice
  FOR EACH ROW WHEN (NEW.kind IN ('reminder', 'escalated', 'answer'))
  EXECUTE FUNCTION notice_approval_goes_on();

CREATE FUNCTION notice_action_unknown() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  INSERT INTO notice (kind, topic, role, tool, amount, currency)
  VALUES ('unknown', NEW.action_id, 'security', NEW.tool, NEW.amount, NEW.currency)
      ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
CREATE TRIGGER notice_action_unknown AFTER UPDATE OF state ON action
  FOR EACH ROW WHEN (OLD.state <> 'unknown' AND NEW.state = 'unknown')
  EXECUTE FUNCTION notice_action_unknown();

-- Make notices of approvals that end soon: with a tenth of their time left, and a
-- quarter of an hour at most. Returns how many.
CREATE FUNCTION notices_expiring() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  WITH made AS (
    INSERT INTO notice (kind, topic, role, tool, amount, currency, expires_at)
    SELECT 'expiring', b.approval_id, b.role, a.tool, b.amount, b.currency, b.expires_at
      FROM approval b JOIN action a USING (action_id)
     WHERE b.state = 'pending'
       AND b.expires_at BETWEEN clock_timestamp()
                            AND clock_timestamp() + interval '15 minutes'
       AND b.expires_at - clock_timestamp() <= (b.expires_at - b.created_at) / 10
       AND NOT EXISTS (SELECT FROM notice n
                        WHERE n.kind = 'expiring' AND n.topic = b.approval_id)
     LIMIT 500
        ON CONFLICT DO NOTHING RETURNING 1)
  SELECT count(*) FROM made
$$;

-- Note to whom a notice goes: [{"subscription", "per_hour"}]. Beyond the cap of an hour
-- it is held back, and the next one says how many were. Returns whether this was first.
CREATE FUNCTION notice_spread(p_notice uuid, p_to jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  one record;
BEGIN
  UPDATE notice SET spread_at = clock_timestamp()
   WHERE notice_id = p_notice AND spread_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  FOR one IN SELECT t.subscription, t.per_hour
               FROM jsonb_to_recordset(p_to) AS t(subscription text, per_hour integer)
              ORDER BY t.subscription LOOP
    -- One subscriber's hour is counted by one at a time.
    PERFORM pg_advisory_xact_lock(hashtextextended(one.subscription, 7));
    INSERT INTO notice_delivery (notice_id, subscription, state)
    SELECT p_notice, one.subscription,
           CASE WHEN count(*) < one.per_hour THEN 'waiting' ELSE 'held_back' END
      FROM notice_delivery d
     WHERE d.subscription = one.subscription AND d.state NOT IN ('held_back', 'moot')
       AND d.made_at > clock_timestamp() - interval '1 hour'
        ON CONFLICT DO NOTHING;
  END LOOP;
  RETURN true;
END
$$;

-- Take what is due, for p_lease_s: who dies with it costs that long. What an approval
-- that has ended was still to be told about is moot.
CREATE FUNCTION notices_take(p_limit integer, p_lease_s integer)
RETURNS TABLE (
  delivery_id uuid, subscription text, tries smallint, held_back bigint,
  notice_id uuid, kind text, topic uuid, role text, person_id text, tool text,
  amount bigint, currency text, expires_at timestamptz, made_at timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  UPDATE notice_delivery d SET state = 'moot', done_at = clock_timestamp()
    FROM notice n JOIN approval b ON b.approval_id = n.topic
   WHERE d.notice_id = n.notice_id AND d.state = 'waiting'
     AND d.next_at <= clock_timestamp() AND b.state <> 'pending'
     AND n.kind IN ('asked', 'reminder', 'escalated', 'expiring', 'answered');
  RETURN QUERY
  WITH due AS (
    SELECT d.delivery_id FROM notice_delivery d
     WHERE d.state = 'waiting' AND d.next_at <= clock_timestamp()
     ORDER BY d.next_at LIMIT p_limit FOR UPDATE SKIP LOCKED),
  taken AS (
    UPDATE notice_delivery d
       SET tries = d.tries + 1,
           next_at = clock_timestamp() + p_lease_s * interval '1 second'
      FROM due WHERE d.delivery_id = due.delivery_id
    RETURNING d.*)
  SELECT t.delivery_id, t.subscription, t.tries,
         -- Since the one before it: each that was held back is told of once.
         (SELECT count(*) FROM notice_delivery h
           WHERE h.subscription = t.subscription AND h.state = 'held_back'
             AND h.made_at < t.made_at
             AND h.made_at > coalesce(
                   (SELECT max(l.made_at) FROM notice_delivery l
                     WHERE l.subscription = t.subscription AND l.state <> 'held_back'
                       AND l.made_at < t.made_at),
                   '-infinity')),
         n.notice_id, n.kind, n.topic, n.role, n.person_id, n.tool, n.amount,
         n.currency, n.expires_at, n.made_at
    FROM taken t JOIN notice n USING (notice_id);
END
$$;

-- Note what became of a delivery: p_state is waiting for one that is tried again after
-- p_pause_s. An alarm comes with its entry.
CREATE FUNCTION notice_done(
  p_delivery uuid, p_state text, p_status smallint, p_code text,
  p_pause_s double precision, p_entries jsonb
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  UPDATE notice_delivery
     SET state = p_state, status = p_status, code = p_code,
         next_at = clock_timestamp() + p_pause_s * interval '1 second',
         done_at = CASE WHEN p_state <> 'waiting' THEN clock_timestamp() END
   WHERE delivery_id = p_delivery AND state = 'waiting';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM keep('[]', p_entries);
  RETURN true;
END
$$;

-- Keep a sealed address.
CREATE FUNCTION notice_address(p_payloads jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT keep(p_payloads, '[]')
$$;

-- Delete up to 5000 notices of more than 30 days ago; return how many.
CREATE FUNCTION notices_purge() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  WITH gone AS (
    DELETE FROM notice WHERE notice_id IN (
      SELECT n.notice_id FROM notice n
       WHERE n.made_at < now() - interval '30 days' LIMIT 5000)
    RETURNING 1)
  SELECT count(*) FROM gone
$$;

REVOKE ALL ON FUNCTION
  notice_of_approval, notice_approval_begins, notice_approval_expires,
  notice_approval_goes_on, notice_action_unknown, notices_expiring, notice_spread, notices_take, notice_done,
  notice_address, notices_purge
  FROM PUBLIC;
GRANT SELECT ON notice, notice_delivery TO cf_broker;
GRANT EXECUTE ON FUNCTION
  notices_expiring, notice_spread, notices_take, notice_done, notice_address,
  notices_purge
  TO cf_broker;
