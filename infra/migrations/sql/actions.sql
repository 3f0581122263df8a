-- Actions, interactions, released values, approvals and votes: the truth of the flow.
--
-- Personal data stands only in payload.sealed (AES-256-GCM under the subject's data key,
-- the ids as associated data). Each function below is one transaction's work and one
-- round trip; all of them are called by broker/effects/keeping, which hands in signed
-- audit entries to be staged in the same transaction.
--
-- Order of locks: action row, approval row, then budgets (see budgets.sql), interaction
-- row, ceilings of objects, audit_stage; of each, in the order of its key. The state
-- machine is broker/core/words/action.py; a test compares.

CREATE TABLE subject_key (
  subject      text        NOT NULL,
  purpose      text        NOT NULL,
  wrapped      bytea,
  created_at   timestamptz NOT NULL DEFAULT now(),
  destroyed_at timestamptz,
  PRIMARY KEY (subject, purpose),
  CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
COMMENT ON TABLE subject_key IS
  'One wrapped data key per subject and purpose; erasure destroys it and nothing else.';

CREATE TABLE payload (
  payload_id uuid        PRIMARY KEY,
  subject    text        NOT NULL,
  purpose    text        NOT NULL,
  retention  text        NOT NULL,
  data_class text        NOT NULL,
  sha256     text        NOT NULL CHECK (length(sha256) = 64),
  sealed     bytea       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  FOREIGN KEY (subject, purpose) REFERENCES subject_key
);

CREATE TABLE interaction (
  interaction_id uuid        PRIMARY KEY,
  tenant         text        NOT NULL,
  environment    text        NOT NULL,
  use_case       text        NOT NULL,
  agent_id       text        NOT NULL,
  channel_id     text        NOT NULL,
  customer_ref   text        NOT NULL DEFAULT '',
  verification   smallint    NOT NULL CHECK (verification BETWEEN 0 AND 3),
  release        text        NOT NULL DEFAULT '',
  payload_id     uuid        NOT NULL REFERENCES payload,
  revision       integer     NOT NULL DEFAULT 1,
  opened_at      timestamptz NOT NULL,
  closed_at      timestamptz
);
CREATE INDEX interaction_by_customer ON interaction (customer_ref, opened_at)
  WHERE customer_ref <> '';

CREATE TABLE turn (
  turn_id        uuid        PRIMARY KEY,
  interaction_id uuid        NOT NULL REFERENCES interaction,
  speaker        text        NOT NULL CHECK (speaker IN ('customer', 'agent')),
  verification   smallint    NOT NULL,
  payload_id     uuid        NOT NULL REFERENCES payload,
  at             timestamptz NOT NULL
);
CREATE INDEX turn_by_interaction ON turn (interaction_id, at);

CREATE TABLE action (
  action_id         uuid        PRIMARY KEY,
  tenant            text        NOT NULL,
  environment       text        NOT NULL,
  use_case          text        NOT NULL,
  agent_id          text        NOT NULL,
  instance_id       text        NOT NULL DEFAULT '',
  grant_id          text        NOT NULL DEFAULT '',
  -- What voids it once it moves on, and where that stood: {"agent:ID": 3, ...}.
  epochs            jsonb       NOT NULL DEFAULT '{}',
  interaction_id    uuid        NOT NULL REFERENCES interaction,
  customer_ref      text        NOT NULL DEFAULT '',
  release           text        NOT NULL DEFAULT '',
  kind              text        NOT NULL,
  parent_action     uuid,
  reversal_of       uuid,
  disposition       text        NOT NULL DEFAULT '',
  tool              text        NOT NULL,
  manifest          text        NOT NULL,
  effect            text        NOT NULL,
  tier              smallint    NOT NULL,
  state             text        NOT NULL CHECK (state IN
    ('pending_approval', 'ready', 'executing', 'unknown', 'done', 'refused', 'failed',
     'cancelled', 'expired')),
  decision          text        NOT NULL,
  code              text        NOT NULL DEFAULT '',
  policy_version    integer     NOT NULL,
  standing_approval text        NOT NULL DEFAULT '',
  approval_id       uuid,
  digest            text        NOT NULL DEFAULT '',
  amount            bigint,
  currency          text,
  dedupe            text        UNIQUE,
  fingerprint       text        NOT NULL,
  idempotency_key   text        NOT NULL,
  warrant_id        uuid,
  lease_replica       text,
  lease_until       timestamptz,
  -- How often it was executed after people signed for it, and nothing could be sent.
  tries             smallint    NOT NULL DEFAULT 0,
  request_payload   uuid        NOT NULL REFERENCES payload,
  outcome_payload   uuid        REFERENCES payload,
  alarms            text[]      NOT NULL DEFAULT '{}',
  -- Of an unknown outcome: how often the edge was asked again, when it is asked next,
  -- what it said last; and which resolution of a person ended it.
  asks              smallint    NOT NULL DEFAULT 0,
  ask_at            timestamptz,
  edge_said         text        NOT NULL DEFAULT '',
  resolution        text        NOT NULL DEFAULT '',
  -- Of one that was sent again under the same idempotency key: its first warrant.
  first_warrant     uuid,
  resends           smallint    NOT NULL DEFAULT 0,
  created_at        timestamptz NOT NULL,
  updated_at        timestamptz NOT NULL DEFAULT now(),
  expires_at        timestamptz,
  CHECK ((state = 'executing') <= (lease_until IS NOT NULL AND warrant_id IS NOT NULL)),
  -- What was made up is never executed: no function, and no writer, can have it claimed.
  CHECK (kind <> 'canary' OR (warrant_id IS NULL AND lease_until IS NULL AND state IN
    ('pending_approval', 'refused', 'cancelled', 'expired')))
) WITH (fillfactor = 80);
CREATE INDEX action_by_agent ON action (agent_id, created_at);
CREATE INDEX action_by_interaction ON action (interaction_id, created_at);
-- At most one undo of an action is live or done, whoever asks.
CREATE UNIQUE INDEX action_undo ON action (reversal_of)
  WHERE kind = 'undo' AND state NOT IN ('refused', 'failed', 'cancelled', 'expired');
CREATE INDEX action_open ON action (state, lease_until)
  WHERE state IN ('ready', 'executing', 'unknown', 'pending_approval');

-- Which moves there are; core/words/action.py holds the same table.
CREATE TABLE action_move (
  old text NOT NULL,
  new text NOT NULL,
  PRIMARY KEY (old, new)
);
INSERT INTO action_move VALUES
  ('pending_approval', 'ready'), ('pending_approval', 'refused'),
  ('pending_approval', 'cancelled'), ('pending_approval', 'expired'),
  ('ready', 'executing'), ('ready', 'refused'), ('ready', 'cancelled'),
  ('ready', 'failed'), ('ready', 'pending_approval'),
  ('executing', 'done'), ('executing', 'refused'), ('executing', 'failed'),
  ('executing', 'unknown'),
  ('unknown', 'done'), ('unknown', 'failed');

CREATE TABLE released_value (
  interaction_id  uuid     NOT NULL REFERENCES interaction,
  lookup          text     NOT NULL,
  action_id       uuid     NOT NULL,
  pointer         text     NOT NULL,
  kind            text     NOT NULL DEFAULT '',
  data_class      text     NOT NULL,
  integrity       smallint NOT NULL,
  confidentiality text     NOT NULL,
  source          text     NOT NULL,
  PRIMARY KEY (interaction_id, lookup, action_id, pointer)
);
COMMENT ON TABLE released_value IS
  'What an agent was shown, found again by a keyed hash of the value.';

CREATE TABLE object_ceiling (
  object_ref text        PRIMARY KEY,
  sealed     bytea       NOT NULL,
  seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE object_ceiling IS
  'What an edge receipt said may ever be moved on an object; sealed, so that writing '
  'to this table raises no ceiling.';

CREATE TABLE approval (
  approval_id   uuid        PRIMARY KEY,
  action_id     uuid        NOT NULL REFERENCES action,
  digest        text        NOT NULL,
  approvers_min smallint    NOT NULL CHECK (approvers_min BETWEEN 1 AND 9),
  role          text        NOT NULL,
  barred        text[]      NOT NULL,
  amount        bigint,
  currency      text,
  state         text        NOT NULL CHECK (state IN
    ('pending', 'approved', 'rejected', 'expired', 'withdrawn', 'stale')),
  created_at    timestamptz NOT NULL,
  expires_at    timestamptz NOT NULL,
  ended_at      timestamptz,
  started_at    timestamptz,
  -- When time next makes something due (approvals.sql); which further roles it was
  -- passed on to; and who works on it, until when.
  next_at       timestamptz NOT NULL DEFAULT 'infinity',
  escalated     text[]      NOT NULL DEFAULT '{}',
  claimed_by    text        NOT NULL DEFAULT '',
  claimed_until timestamptz
);
CREATE INDEX approval_due ON approval (least(next_at, expires_at))
  WHERE state = 'pending';
CREATE INDEX approval_claimed ON approval (claimed_by)
  WHERE claimed_by <> '' AND state = 'pending';
CREATE INDEX approval_ended ON approval (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE vote (
  vote_id     uuid        PRIMARY KEY,
  approval_id uuid        NOT NULL REFERENCES approval,
  person_id   text        NOT NULL,
  word        text        NOT NULL CHECK (word IN ('approve', 'reject')),
  payload_id  uuid        NOT NULL REFERENCES payload,
  at          timestamptz NOT NULL,
  cast_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX vote_by_approval ON vote (approval_id, at);
CREATE INDEX vote_by_person ON vote (person_id, cast_at) WHERE word = 'approve';
COMMENT ON TABLE vote IS
  'A signed vote; the JWS is the payload. settle verifies it again.';

CREATE TABLE outbox (
  outbox_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind      text        NOT NULL CHECK (kind IN ('start', 'vote', 'end')),
  topic     uuid        NOT NULL,
  key       text        NOT NULL,
  made_at   timestamptz NOT NULL DEFAULT now(),
  next_at   timestamptz NOT NULL DEFAULT now(),
  tries     integer     NOT NULL DEFAULT 0,
  done_at   timestamptz,
  UNIQUE (kind, key)
);
CREATE INDEX outbox_due ON outbox (next_at) WHERE done_at IS NULL;
COMMENT ON TABLE outbox IS
  'What Temporal must be told: topic is an approval id, and nothing else goes there.';

-- Keep payloads and stage entries: [{"payload_id", ..., "sealed": base64}] and
-- [{"entry_id", "leaf": base64}].
CREATE FUNCTION keep(p_payloads jsonb, p_entries jsonb) RETURNS void
LANGUAGE sql
AS $$
  INSERT INTO payload (payload_id, subject, purpose, retention, data_class, sha256,
                       sealed)
  SELECT p.payload_id, p.subject, p.purpose, p.retention, p.data_class, p.sha256,
         decode(p.sealed, 'base64')
    FROM jsonb_to_recordset(p_payloads) AS p(payload_id uuid, subject text,
           purpose text, retention text, data_class text, sha256 text, sealed text);
  INSERT INTO audit_stage (entry_id, leaf)
  SELECT e.entry_id, decode(e.leaf, 'base64')
    FROM jsonb_to_recordset(p_entries) AS e(entry_id uuid, leaf text);
$$;

CREATE FUNCTION action_insert(p_action jsonb) RETURNS void
LANGUAGE sql
AS $$
  INSERT INTO action (action_id, tenant, environment, use_case, agent_id, instance_id,
    grant_id, epochs, interaction_id, customer_ref, release, kind, parent_action,
    reversal_of, disposition, tool, manifest, effect, tier, state, decision, code, policy_version,
    standing_approval, approval_id, digest, amount, currency, dedupe, fingerprint,
    idempotency_key, warrant_id, lease_replica, lease_until, request_payload, created_at,
    expires_at)
  SELECT a.action_id, a.tenant, a.environment, a.use_case, a.agent_id, a.instance_id,
    a.grant_id, a.epochs, a.interaction_id, a.customer_ref, a.release, a.kind,
    a.parent_action, a.reversal_of, a.disposition, a.tool, a.manifest, a.effect, a.tier, a.state,
    a.decision, a.code, a.policy_version, a.standing_approval, a.approval_id, a.digest,
    a.amount, a.currency, a.dedupe, a.fingerprint, a.idempotency_key, a.warrant_id,
    a.lease_replica, now() + a.lease_s * interval '1 second', a.request_payload,
    a.created_at, a.expires_at
  FROM jsonb_to_record(p_action) AS a(action_id uuid, tenant text, environment text,
    use_case text, agent_id text, instance_id text, grant_id text, epochs jsonb,
    interaction_id uuid, customer_ref text, release text,
    kind text, parent_action uuid, reversal_of uuid, disposition text, tool text,
    manifest text, effect text, tier smallint, state text, decision text, code text,
    policy_version integer, standing_approval text, approval_id uuid, digest text,
    amount bigint, currency text, dedupe text, fingerprint text, idempotency_key text,
    warrant_id uuid, lease_replica text, lease_s integer, request_payload uuid,
    created_at timestamptz, expires_at timestamptz)
$$;

-- Store a decided action, hold its money, ask for approval and stage its entry.
--
-- p: {"action": {...}, "payloads": [...], "entries": [...], "lines": [...],
--     "readings": [...], "approval": {...} | null}; readings are lines of what is read.
-- Returns {"word": ok | duplicate | conflict | over | stale | unread, "action_id",
-- "over": []}; unread: what is read has no room, or moved.
-- Anything but ok leaves nothing behind.
CREATE FUNCTION action_submit(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  mine     uuid := p #>> '{action,action_id}';
  key      text := p #>> '{action,dedupe}';
  earlier  record;
  admitted jsonb;
BEGIN
  IF key IS NOT NULL THEN
    -- Two equal calls at once: the second waits here, then finds the first.
    PERFORM pg_advisory_xact_lock(hashtextextended(key, 1));
    SELECT a.action_id, a.fingerprint INTO earlier FROM action a WHERE a.dedupe = key;
    IF FOUND THEN
      RETURN jsonb_build_object('action_id', earlier.action_id, 'word',
        CASE WHEN earlier.fingerprint = p #>> '{action,fingerprint}'
             THEN 'duplicate' ELSE 'conflict' END);
    END IF;
  END IF;
  IF p -> 'readings' <> '[]' THEN
    PERFORM budgets_current(p -> 'readings');
    -- What it holds and what it reads stand in one order: both are locked here.
    PERFORM reservation_lock(mine);
    PERFORM readings_lock((p -> 'lines') || (p -> 'readings'));
  END IF;
  IF p -> 'lines' <> '[]' THEN
    PERFORM budgets_current(p -> 'lines');
    admitted := reserve(mine, p -> 'lines');
    IF NOT (admitted ->> 'admitted')::boolean THEN
      RETURN jsonb_build_object('action_id', mine,
        'word', CASE WHEN admitted -> 'over' <> '[]' THEN 'over' ELSE 'stale' END,
        'over', admitted -> 'over');
    END IF;
  END IF;
  IF p -> 'readings' <> '[]' AND NOT readings_take(p -> 'readings') THEN
    PERFORM reservation_void(mine);
    DELETE FROM reservation WHERE action_id = mine;
    RETURN jsonb_build_object('action_id', mine, 'word', 'unread');
  END IF;
  IF p #>> '{action,state}' = 'executing' THEN
    PERFORM reservation_execute(mine);
  END IF;
  PERFORM keep(p -> 'payloads', p -> 'entries');
  PERFORM action_insert(p -> 'action');
  IF p -> 'approval' <> 'null' THEN
    INSERT INTO approval (approval_id, action_id, digest, approvers_min, role, barred,
                          amount, currency, state, created_at, expires_at, next_at)
    SELECT a.approval_id, mine, a.digest, a.approvers_min, a.role, a.barred, a.amount,
           a.currency, 'pending', a.created_at, a.expires_at, a.next_at
      FROM jsonb_to_record(p -> 'approval') AS a(approval_id uuid, digest text,
             approvers_min smallint, role text, barred text[], amount bigint,
             currency text, created_at timestamptz, expires_at timestamptz,
             next_at timestamptz);
    INSERT INTO outbox (kind, topic, key)
    VALUES ('start', (p #>> '{approval,approval_id}')::uuid,
            p #>> '{approval,approval_id}');
  END IF;
  RETURN jsonb_build_object('word', 'ok', 'action_id', mine);
END
$$;

CREATE FUNCTION action_may(p_old text, p_new text) RETURNS boolean
LANGUAGE sql STABLE
AS $$
  SELECT EXISTS (SELECT FROM action_move WHERE old = p_old AND new = p_new)
$$;

-- Take a ready action for execution: ready -> executing, with a lease, a warrant and the
-- entry of the claim. What it takes is reserved anew, in the windows of now: an approval
-- that comes after a window's end counts in the current one. What it holds already
-- needs no room again.
-- Returns {"word": claimed | lost | over | stale, "over": []}; only claimed leaves
-- anything behind.
CREATE FUNCTION action_claim(
  p_action uuid, p_replica text, p_lease_s integer, p_warrant uuid, p_lines jsonb,
  p_entries jsonb
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  admitted jsonb;
  moved    jsonb;
BEGIN
  PERFORM FROM action WHERE action_id = p_action AND state = 'ready' FOR UPDATE;
  IF NOT FOUND THEN
    RETURN '{"word": "lost", "over": []}';
  END IF;
  PERFORM budgets_current(p_lines);
  admitted := reserve(p_action, p_lines);
  IF admitted -> 'over' <> '[]' OR admitted -> 'stale' <> '[]' THEN
    RETURN jsonb_build_object('over', admitted -> 'over', 'word',
      CASE WHEN admitted -> 'over' <> '[]' THEN 'over' ELSE 'stale' END);
  END IF;
  moved := reservation_execute(p_action);
  IF moved ->> 'state' IS NOT NULL AND NOT (moved ->> 'made')::boolean THEN
    RAISE EXCEPTION 'the reservation of % cannot execute: %', p_action, moved
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  UPDATE action
     SET state = 'executing', lease_replica = p_replica, warrant_id = p_warrant,
         lease_until = now() + p_lease_s * interval '1 second', updated_at = now()
   WHERE action_id = p_action;
  PERFORM keep('[]', p_entries);
  RETURN '{"word": "claimed", "over": []}';
END
$$;

-- Take over an executing action whose lease has lapsed. The warrant stays: the edge must
-- be asked about it first. Returns its id, or null.
CREATE FUNCTION action_take_over(p_action uuid, p_replica text, p_lease_s integer)
RETURNS uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  UPDATE action
     SET lease_replica = p_replica, updated_at = now(),
         lease_until = now() + p_lease_s * interval '1 second'
   WHERE action_id = p_action AND state = 'executing' AND lease_until < now()
  RETURNING warrant_id
$$;

CREATE FUNCTION action_rearm(
  p_action uuid, p_replica text, p_old uuid, p_lease_s integer, p_new uuid
) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  WITH moved AS (
    UPDATE action
       SET warrant_id = p_new, updated_at = now(),
           lease_until = now() + p_lease_s * interval '1 second'
     WHERE action_id = p_action AND state = 'executing'
       AND lease_replica = p_replica AND warrant_id = p_old
    RETURNING 1)
  SELECT EXISTS (SELECT FROM moved)
$$;

-- Nothing was sent, and people signed for it: its lease lapses after a pause, so that it
-- is tried again then, by whoever sweeps first. Counts the tries that came to nothing.
CREATE FUNCTION action_pause(
  p_action uuid, p_replica text, p_warrant uuid, p_pause_s integer
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  UPDATE action
     SET tries = tries + 1, updated_at = now(),
         lease_until = now() + p_pause_s * interval '1 second'
   WHERE action_id = p_action AND state = 'executing'
     AND lease_replica = p_replica AND warrant_id = p_warrant
$$;

-- End an action of which nothing was sent: what it held is given back, whoever was asked
-- to sign it is told, and its entry is staged. Replica and warrant are those of the claim,
-- null where there is none: a claim that was made meanwhile, or made anew, is another's
-- to end, because its request may have left. Returns whether it moved.
CREATE FUNCTION action_refuse(
  p_action uuid, p_replica text, p_warrant uuid, p_state text, p_code text,
  p_approval_state text, p_entries jsonb
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  was record;
BEGIN
  SELECT state, approval_id, lease_replica, warrant_id INTO was
    FROM action WHERE action_id = p_action FOR UPDATE;
  -- What somebody else executes may have been sent already; and an approval expires by
  -- this database's clock, by which votes are counted too.
  IF NOT FOUND OR NOT action_may(was.state, p_state)
     OR (p_state = 'expired' AND NOT EXISTS (
           SELECT FROM approval b WHERE b.approval_id = was.approval_id
              AND b.expires_at <= clock_timestamp()))
     OR (was.state = 'executing'
         AND (was.lease_replica, was.warrant_id) IS DISTINCT FROM (p_replica, p_warrant))
  THEN
    RETURN false;
  END IF;
  UPDATE action
     SET state = p_state, code = p_code, lease_replica = NULL, lease_until = NULL,
         -- What failed before anything was sent may be asked for again.
         dedupe = CASE WHEN p_state = 'failed' THEN NULL ELSE dedupe END,
         updated_at = now()
   WHERE action_id = p_action;
  UPDATE approval SET state = p_approval_state, ended_at = now()
   WHERE approval_id = was.approval_id AND state = 'pending';
  IF FOUND THEN
    INSERT INTO outbox (kind, topic, key)
    VALUES ('end', was.approval_id, was.approval_id::text) ON CONFLICT DO NOTHING;
  END IF;
  PERFORM reservation_void(p_action);
  PERFORM keep('[]', p_entries);
  RETURN true;
END
$$;

-- Store an outcome. p: {"action_id", "replica", "warrant", "state", "code", "money",
-- "posted", "currency", "payload": uuid, "payloads": [...], "entries": [...],
-- "values": [...], "ceilings": [{"ref", "sealed"}], "bind": {...} | null,
-- "forget": bool, "alarms": [...], "resolution": what a person said, or ''}.
-- Returns false, and stores nothing, if the claim was lost meanwhile.
CREATE FUNCTION action_finish(p jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  IF NOT action_end(p) THEN
    RETURN false;
  END IF;
  PERFORM ceilings_keep(ARRAY[p]);
  RETURN true;
END
$$;

-- The same without what bounds its objects: many of those are locked in one order.
CREATE FUNCTION action_end(p jsonb) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
  mine uuid := p ->> 'action_id';
  was  record;
  said jsonb := '{}';
BEGIN
  SELECT * INTO was FROM action WHERE action_id = mine FOR UPDATE;
  IF NOT FOUND OR NOT action_may(was.state, p ->> 'state')
     OR was.warrant_id <> (p ->> 'warrant')::uuid
     OR (was.state = 'executing' AND was.lease_replica <> p ->> 'replica') THEN
    RETURN false;
  END IF;
  CASE p ->> 'money'
    WHEN 'post' THEN
      said := reservation_post(mine, (p ->> 'posted')::bigint, p ->> 'currency');
    WHEN 'void' THEN said := reservation_void(mine);
    WHEN 'unknown' THEN said := reservation_unknown(mine);
    ELSE NULL;
  END CASE;
  IF said ->> 'state' = 'unknown' AND p ->> 'money' = 'post' THEN
    -- Another currency than was reserved: nobody can say what was spent.
    p := p || '{"state": "unknown"}';
  END IF;
  PERFORM keep(p -> 'payloads', p -> 'entries');
  UPDATE action
     SET state = p ->> 'state', code = p ->> 'code', lease_replica = NULL,
         lease_until = NULL, outcome_payload = (p ->> 'payload')::uuid,
         resolution = coalesce(p ->> 'resolution', ''),
         dedupe = CASE WHEN (p ->> 'forget')::boolean THEN NULL ELSE dedupe END,
         alarms = (SELECT coalesce(array_agg(DISTINCT a), '{}')
                     FROM jsonb_array_elements_text(
                       (p -> 'alarms') || coalesce(said -> 'alarms', '[]')) AS a),
         updated_at = now()
   WHERE action_id = mine;
  PERFORM action_show(was.interaction_id, mine, p);
  RETURN true;
END
$$;

-- Take unknown outcomes whose edge is to be asked again, those that waited longest
-- first. Each pause is twice the one before, so that many of them starve nobody; it is
-- set before the edge is asked, so that a replica that dies meanwhile costs one pause.
CREATE FUNCTION unknown_take(p_limit integer, p_first_s integer, p_most_s integer)
RETURNS SETOF uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  WITH due AS (
    SELECT action_id FROM action
     WHERE state = 'unknown'
       AND coalesce(ask_at, updated_at + p_first_s * interval '1 second') <= now()
     ORDER BY coalesce(ask_at, updated_at), action_id
     LIMIT p_limit FOR UPDATE SKIP LOCKED)
  UPDATE action a
     SET asks = least(a.asks + 1, 30),
         ask_at = now() + least(p_first_s * 2.0 ^ (a.asks + 1), p_most_s)
                          * interval '1 second'
    FROM due WHERE a.action_id = due.action_id
  RETURNING a.action_id
$$;

-- Keep what the edge said of an outcome that stays unknown. An alarm is raised once, with
-- its entry. Returns whether it was raised now.
CREATE FUNCTION unknown_said(
  p_action uuid, p_said text, p_alarm text, p_entries jsonb
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  UPDATE action SET edge_said = coalesce(nullif(p_said, ''), edge_said)
   WHERE action_id = p_action AND state = 'unknown';
  IF p_alarm = '' THEN
    RETURN false;
  END IF;
  UPDATE action SET alarms = alarms || p_alarm
   WHERE action_id = p_action AND state = 'unknown' AND NOT p_alarm = ANY (alarms);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM keep('[]', p_entries);
  RETURN true;
END
$$;

-- Give an unknown action a new warrant under its old idempotency key. The entry is staged
-- with it; nothing is sent before that is in the log.
CREATE FUNCTION unknown_again(
  p_action uuid, p_before uuid, p_warrant uuid, p_entries jsonb
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  UPDATE action
     SET first_warrant = coalesce(first_warrant, warrant_id), warrant_id = p_warrant,
         resends = resends + 1
   WHERE action_id = p_action AND state = 'unknown' AND warrant_id = p_before;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM keep('[]', p_entries);
  RETURN true;
END
$$;

-- Remember what bounds the objects that were shown, in the order of these; the last one
-- of the documents that names an object is kept.
CREATE FUNCTION ceilings_keep(p_docs jsonb[]) RETURNS void
LANGUAGE sql
AS $$
  INSERT INTO object_ceiling (object_ref, sealed)
  SELECT DISTINCT ON (c.ref) c.ref, decode(c.sealed, 'base64')
    FROM unnest(p_docs) WITH ORDINALITY AS d(doc, place),
         jsonb_to_recordset(d.doc -> 'ceilings') AS c(ref text, sealed text)
   ORDER BY c.ref, d.place DESC
      ON CONFLICT (object_ref) DO UPDATE SET sealed = EXCLUDED.sealed, seen_at = now()
$$;

-- Remember what was shown, and whose interaction it is.
CREATE FUNCTION action_show(p_interaction uuid, p_action uuid, p jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  INSERT INTO released_value (interaction_id, lookup, action_id, pointer, kind,
    data_class, integrity, confidentiality, source)
  SELECT p_interaction, v.lookup, p_action, v.pointer, v.kind, v.data_class,
         v.integrity, v.confidentiality, v.source
    FROM jsonb_to_recordset(p -> 'values') AS v(lookup text, pointer text, kind text,
           data_class text, integrity smallint, confidentiality text, source text)
      ON CONFLICT DO NOTHING;
  IF p -> 'bind' <> 'null' THEN
    -- Once bound, always bound: a second customer changes nothing. Nor does anything
    -- what has ended: its newest sealed form says so.
    UPDATE interaction
       SET customer_ref = p #>> '{bind,customer_ref}',
           verification = (p #>> '{bind,verification}')::smallint,
           payload_id = (p #>> '{bind,payload_id}')::uuid, revision = revision + 1
     WHERE interaction_id = p_interaction AND closed_at IS NULL
       AND customer_ref IN ('', p #>> '{bind,customer_ref}');
  END IF;
END
$$;

-- Store a signed vote and what it leads to: votes, quorum and expiry are decided in this
-- one transaction. The rule is broker/core/approve.py, asked with exactly the votes in
-- ``seen``; if any other row is there by now, nothing is stored and it is asked again.
-- Expiry is by this database's clock, the same for all replicas.
--
-- p: {"approval_id", "vote_id", "person_id", "word", "digest", "at", "payload": uuid,
--     "payloads": [...], "entries": [...], "seen": [vote ids], "state": the tally with
--     this vote: pending | approved | rejected, "outcome": uuid | null,
--     "per_hour": how many yeses of one person count within an hour,
--     "claim_s": how long a claim lasts at most}
-- Returns {"word": counted | repeated | moved | closed | expired | unknown | claimed |
-- capped, "state"}; only ``counted`` leaves anything behind. ``claimed``: somebody else
-- works on it. ``capped``: this person said yes too often. Neither keeps a no waiting,
-- nor what a customer confirms, whose person_id is 'customer'.
CREATE FUNCTION vote_cast(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  mine  uuid := p ->> 'approval_id';
  leads text := p ->> 'state';
  asked record;
BEGIN
  PERFORM FROM action a WHERE a.action_id =
    (SELECT b.action_id FROM approval b WHERE b.approval_id = mine) FOR UPDATE;
  SELECT * INTO asked FROM approval WHERE approval_id = mine FOR UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('word', 'unknown', 'state', NULL);
  ELSIF EXISTS (SELECT FROM vote WHERE vote_id = (p ->> 'vote_id')::uuid
                   AND approval_id = mine) THEN
    RETURN jsonb_build_object('word', 'repeated', 'state', asked.state);
  ELSIF asked.state <> 'pending' THEN
    RETURN jsonb_build_object('word', 'closed', 'state', asked.state);
  ELSIF asked.expires_at <= clock_timestamp() THEN
    RETURN jsonb_build_object('word', 'expired', 'state', asked.state);
  ELSIF EXISTS (SELECT FROM vote v WHERE v.approval_id = mine
                   AND NOT p -> 'seen' ? v.vote_id::text) THEN
    RETURN jsonb_build_object('word', 'moved', 'state', asked.state);
  ELSIF leads NOT IN ('pending', 'approved', 'rejected') THEN
    RAISE EXCEPTION 'a vote leads to %', leads USING ERRCODE = 'check_violation';
  ELSIF p ->> 'word' = 'approve' AND asked.claimed_by <> p ->> 'person_id'
        AND p ->> 'person_id' <> 'customer' AND asked.claimed_until > clock_timestamp()
        -- No claim lasts longer: what says so was written by somebody else.
        AND asked.claimed_until <= clock_timestamp()
            + (p ->> 'claim_s')::integer * interval '1 second' THEN
    RETURN jsonb_build_object('word', 'claimed', 'state', asked.state);
  ELSIF p ->> 'word' = 'approve' AND p ->> 'person_id' <> 'customer' THEN
    -- One person's yeses are counted one after the other; this lock comes last.
    PERFORM pg_advisory_xact_lock(hashtextextended(p ->> 'person_id', 2));
    IF (SELECT count(*) FROM vote v
         WHERE v.person_id = p ->> 'person_id' AND v.word = 'approve'
           AND v.cast_at > clock_timestamp() - interval '1 hour')
       >= (p ->> 'per_hour')::integer THEN
      RETURN jsonb_build_object('word', 'capped', 'state', asked.state);
    END IF;
  END IF;
  IF leads = 'rejected' THEN
    PERFORM reservation_void(asked.action_id);
  END IF;
  PERFORM keep(p -> 'payloads', p -> 'entries');
  INSERT INTO vote (vote_id, approval_id, person_id, word, payload_id, at)
  VALUES ((p ->> 'vote_id')::uuid, mine, p ->> 'person_id', p ->> 'word',
          (p ->> 'payload')::uuid, (p ->> 'at')::timestamptz);
  INSERT INTO outbox (kind, topic, key) VALUES ('vote', mine, p ->> 'vote_id');
  -- Who has voted does not work on it any more.
  UPDATE approval SET claimed_by = '', claimed_until = NULL
   WHERE approval_id = mine AND claimed_by = p ->> 'person_id';
  IF leads <> 'pending' THEN
    UPDATE approval SET state = leads, ended_at = clock_timestamp()
     WHERE approval_id = mine;
    UPDATE action
       SET state = CASE WHEN leads = 'approved' AND kind <> 'canary'
                        THEN 'ready' ELSE 'refused' END,
           code = CASE WHEN leads <> 'approved' THEN 'rejected'
                       WHEN kind = 'canary' THEN 'canary' ELSE '' END,
           outcome_payload = (p ->> 'outcome')::uuid, updated_at = now()
     WHERE action_id = asked.action_id AND state = 'pending_approval';
    IF NOT FOUND THEN
      RAISE EXCEPTION 'action % did not wait for approval %', asked.action_id, mine
        USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
  END IF;
  RETURN jsonb_build_object('word', 'counted', 'state', leads);
END
$$;

-- Send again what Temporal was told in vain: a run that was ended or squatted by somebody
-- who reaches Temporal leaves an approved action behind, which nobody settles. Returns
-- how many approvals are started anew.
CREATE FUNCTION outbox_revive(p_after_s integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  WITH left_over AS (
    SELECT o.outbox_id, b.approval_id
      FROM action a JOIN approval b USING (approval_id)
      JOIN outbox o ON o.topic = b.approval_id AND o.kind = 'start'
     WHERE a.state = 'ready' AND b.state = 'approved'
       AND b.ended_at < now() - p_after_s * interval '1 second'
       AND o.done_at < now() - p_after_s * interval '1 second'
     LIMIT 100 FOR UPDATE OF o SKIP LOCKED),
  again AS (
    UPDATE outbox o SET done_at = NULL, next_at = now(), tries = 0
      FROM left_over l WHERE o.outbox_id = l.outbox_id RETURNING 1),
  unheard AS (
    UPDATE approval b SET started_at = NULL
      FROM left_over l WHERE b.approval_id = l.approval_id)
  SELECT count(*) FROM again
$$;

CREATE FUNCTION interaction_open(p jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  PERFORM keep(p -> 'payloads', p -> 'entries');
  INSERT INTO interaction (interaction_id, tenant, environment, use_case, agent_id,
    channel_id, customer_ref, verification, release, payload_id, opened_at, closed_at)
  SELECT i.interaction_id, i.tenant, i.environment, i.use_case, i.agent_id,
    i.channel_id, i.customer_ref, i.verification, i.release, i.payload_id, i.opened_at,
    i.closed_at
    FROM jsonb_to_record(p -> 'interaction') AS i(interaction_id uuid, tenant text,
      environment text, use_case text, agent_id text, channel_id text,
      customer_ref text, verification smallint, release text, payload_id uuid,
      opened_at timestamptz, closed_at timestamptz);
END
$$;

-- Close an interaction under its new sealed form. False, and nothing is stored, if it is
-- closed already, or if its customer is another one than in that form by now.
CREATE FUNCTION interaction_end(p jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  said record;
BEGIN
  SELECT * INTO said
    FROM jsonb_to_record(p -> 'interaction') AS i(interaction_id uuid,
           customer_ref text, verification smallint, payload_id uuid,
           closed_at timestamptz);
  PERFORM FROM interaction i
    WHERE i.interaction_id = said.interaction_id AND i.closed_at IS NULL
      AND i.customer_ref = said.customer_ref AND i.verification = said.verification
      FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM keep(p -> 'payloads', p -> 'entries');
  UPDATE interaction i
     SET closed_at = said.closed_at, payload_id = said.payload_id,
         revision = i.revision + 1
   WHERE i.interaction_id = said.interaction_id;
  RETURN true;
END
$$;

CREATE FUNCTION turn_add(p jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  PERFORM keep(p -> 'payloads', p -> 'entries');
  INSERT INTO turn (turn_id, interaction_id, speaker, verification, payload_id, at)
  SELECT t.turn_id, t.interaction_id, t.speaker, t.verification, t.payload_id, t.at
    FROM jsonb_to_record(p -> 'turn') AS t(turn_id uuid, interaction_id uuid,
           speaker text, verification smallint, payload_id uuid, at timestamptz);
END
$$;

-- Give a subject's data key, making it from the offered one if there is none.
CREATE FUNCTION subject_key_for(p_subject text, p_purpose text, p_wrapped bytea)
RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  found_key bytea;
BEGIN
  SELECT wrapped INTO found_key FROM subject_key
   WHERE subject = p_subject AND purpose = p_purpose;
  IF FOUND THEN
    RETURN found_key;
  END IF;
  INSERT INTO subject_key (subject, purpose, wrapped)
  VALUES (p_subject, p_purpose, p_wrapped) ON CONFLICT DO NOTHING;
  RETURN (SELECT wrapped FROM subject_key
           WHERE subject = p_subject AND purpose = p_purpose);
END
$$;

REVOKE ALL ON FUNCTION
  keep, action_insert, action_submit, action_may,
  action_claim, action_take_over, action_rearm, action_pause, action_refuse,
  action_finish, action_end, action_show, ceilings_keep, unknown_take, unknown_said,
  unknown_again, vote_cast,
  outbox_revive, interaction_open, interaction_end, turn_add, subject_key_for
  FROM PUBLIC;
GRANT SELECT ON subject_key, payload, interaction, turn, action, released_value,
  object_ceiling, approval, vote, outbox TO cf_broker;
GRANT UPDATE (next_at, tries, done_at) ON outbox TO cf_broker;
GRANT UPDATE (started_at) ON approval TO cf_broker;
GRANT EXECUTE ON FUNCTION
  action_submit, action_claim, action_take_over, action_rearm,
  action_pause, action_refuse, action_finish, unknown_take, unknown_said,
  unknown_again, vote_cast, outbox_revive, interaction_open, interaction_end, turn_add,
  subject_key_for
  TO cf_broker;
