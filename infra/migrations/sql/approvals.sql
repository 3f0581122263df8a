-- Approvals as people work on them: lists, claims, questions, absences, and notices of
-- what somebody may want to know. Nothing here gives anybody a right: who may sign, when
-- and for what is read from signed rows and from the sealed action.
--
-- Order of locks: as in actions.sql; a function that takes an approval takes no action.

-- Which moves there are, and why; core/words/approval.py holds the same table.
CREATE TABLE approval_move (
  old text NOT NULL,
  new text NOT NULL,
  PRIMARY KEY (old, new)
);
INSERT INTO approval_move VALUES
  ('pending', 'approved'), ('pending', 'rejected'), ('pending', 'expired'),
  ('pending', 'withdrawn'), ('pending', 'stale'), ('approved', 'stale');

-- Who sees a pending approval in their list, with what lists are sorted and filtered by:
-- a list of 100,000 is a walk along one of these indexes.
CREATE TABLE approval_seat (
  approval_id  uuid        NOT NULL REFERENCES approval,
  role         text        NOT NULL,
  expires_at   timestamptz NOT NULL,
  amount       bigint      NOT NULL,
  customer_ref text        NOT NULL,
  agent_id     text        NOT NULL,
  tool         text        NOT NULL,
  PRIMARY KEY (approval_id, role)
);
CREATE INDEX approval_seat_by_expiry ON approval_seat (role, expires_at, approval_id);
CREATE INDEX approval_seat_by_amount ON approval_seat (role, amount, approval_id);
CREATE INDEX approval_seat_by_customer
  ON approval_seat (role, customer_ref, expires_at, approval_id);
CREATE INDEX approval_seat_by_agent
  ON approval_seat (role, agent_id, expires_at, approval_id);
CREATE INDEX approval_seat_by_tool
  ON approval_seat (role, tool, expires_at, approval_id);

CREATE TABLE approval_notice (
  notice_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  approval_id uuid        NOT NULL REFERENCES approval,
  kind        text        NOT NULL CHECK (kind IN
    ('asked', 'reminder', 'escalated', 'claimed', 'released', 'handed_over', 'question',
     'answer', 'ended')),
  key         text        NOT NULL,
  role        text        NOT NULL DEFAULT '',
  person_id   text        NOT NULL DEFAULT '',
  made_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  sent_at     timestamptz,
  UNIQUE (approval_id, kind, key)
);
CREATE INDEX approval_notice_unsent ON approval_notice (notice_id)
  WHERE sent_at IS NULL;
COMMENT ON TABLE approval_notice IS
  'What happened to an approval that a role or a person may want to know, each once; '
  'names an approval and nothing about anybody.';

CREATE TABLE approval_question (
  question_id    uuid        PRIMARY KEY,
  approval_id    uuid        NOT NULL REFERENCES approval,
  number         smallint    NOT NULL,
  asked_by       text        NOT NULL,
  payload_id     uuid        NOT NULL REFERENCES payload,
  at             timestamptz NOT NULL,
  answer_payload uuid        REFERENCES payload,
  answered_at    timestamptz,
  UNIQUE (approval_id, number),
  CHECK ((answer_payload IS NULL) = (answered_at IS NULL))
);

CREATE TABLE approval_away (
  person_id  text        PRIMARY KEY,
  deputy     text        NOT NULL CHECK (deputy <> person_id),
  away_until timestamptz NOT NULL,
  set_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE approval_away IS
  'Who is away, and who gets their claims and reminders; a deputy votes by own right.';

-- Return whom a notice for a person goes to: their deputy, while they are away.
CREATE FUNCTION stands_in_for(p_person text) RETURNS text
LANGUAGE sql STABLE
AS $$
  WITH RECURSIVE chain(who, depth) AS (
    SELECT p_person, 0
    UNION ALL
    SELECT a.deputy, c.depth + 1
      FROM chain c JOIN approval_away a ON a.person_id = c.who
     WHERE a.away_until > clock_timestamp() AND c.depth < 8)
  SELECT coalesce((
    SELECT c.who FROM chain c
     WHERE NOT EXISTS (SELECT FROM approval_away a
                        WHERE a.person_id = c.who AND a.away_until > clock_timestamp())
     LIMIT 1), '')
$$;

-- Give a role its seat, from the approval's own row and its action's.
CREATE FUNCTION approval_seat_add(p_approval uuid, p_role text) RETURNS void
LANGUAGE sql
AS $$
  INSERT INTO approval_seat (approval_id, role, expires_at, amount, customer_ref,
                             agent_id, tool)
  SELECT b.approval_id, p_role, b.expires_at, coalesce(b.amount, 0), a.customer_ref,
         a.agent_id, a.tool
    FROM approval b JOIN action a USING (action_id)
   WHERE b.approval_id = p_approval AND b.state = 'pending'
      ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION approval_begins() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  PERFORM approval_seat_add(NEW.approval_id, NEW.role);
  INSERT INTO approval_notice (approval_id, kind, key, role)
  VALUES (NEW.approval_id, 'asked', '', NEW.role);
  RETURN NULL;
END
$$;
CREATE TRIGGER approval_begins AFTER INSERT ON approval
  FOR EACH ROW WHEN (NEW.state = 'pending') EXECUTE FUNCTION approval_begins();

-- Nothing ends twice, and what has ended is in nobody's list.
CREATE FUNCTION approval_moves() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM approval_move m
                  WHERE m.old = OLD.state AND m.new = NEW.state) THEN
    RAISE EXCEPTION 'an approval does not go from % to %', OLD.state, NEW.state
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  DELETE FROM approval_seat WHERE approval_id = NEW.approval_id;
  INSERT INTO approval_notice (approval_id, kind, key, role)
  VALUES (NEW.approval_id, 'ended', NEW.state, NEW.role) ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
CREATE TRIGGER approval_moves AFTER UPDATE OF state ON approval
  FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION approval_moves();

-- Make the notice of something that time has made due, once, and say when to look again.
-- p: {"approval_id", "kind": reminder | escalated, "role", "next_at", "entries": [...]}
-- A reminder goes to whoever works on it, else to the role; an escalation gives the role
-- its seat. Returns whether it was new.
CREATE FUNCTION approval_mark(p jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  mine  uuid := p ->> 'approval_id';
  asked record;
  works text := '';
BEGIN
  SELECT * INTO asked FROM approval WHERE approval_id = mine FOR UPDATE;
  IF NOT FOUND OR asked.state <> 'pending' THEN
    RETURN false;
  END IF;
  UPDATE approval SET next_at = (p ->> 'next_at')::timestamptz WHERE approval_id = mine;
  IF p ->> 'kind' = 'reminder' AND asked.claimed_until > clock_timestamp() THEN
    works := stands_in_for(asked.claimed_by);
  END IF;
  INSERT INTO approval_notice (approval_id, kind, key, role, person_id)
  VALUES (mine, p ->> 'kind', p ->> 'role', p ->> 'role', works)
      ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF p ->> 'kind' = 'escalated' THEN
    UPDATE approval SET escalated = escalated || (p ->> 'role')
     WHERE approval_id = mine;
    PERFORM approval_seat_add(mine, p ->> 'role');
  END IF;
  PERFORM keep('[]', p -> 'entries');
  RETURN true;
END
$$;

-- Take an approval to work on it, or keep it for longer. Returns {"word": claimed | held
-- | closed | full | spent | unknown, "by", "until"}. A claim ends by itself, and only ever
-- keeps another person's yes waiting for so long: for p_total_s after a person first
-- claimed this, however often they do it again.
CREATE FUNCTION approval_claim(
  p_approval uuid, p_person text, p_lease_s integer, p_total_s integer,
  p_held_max integer
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  asked record;
  until timestamptz;
BEGIN
  -- One person's claims are counted one after the other.
  PERFORM pg_advisory_xact_lock(hashtextextended(p_person, 3));
  SELECT * INTO asked FROM approval WHERE approval_id = p_approval FOR UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('word', 'unknown');
  ELSIF asked.state <> 'pending' OR asked.expires_at <= clock_timestamp() THEN
    RETURN jsonb_build_object('word', 'closed');
  ELSIF asked.claimed_by <> p_person AND asked.claimed_until > clock_timestamp() THEN
    RETURN jsonb_build_object('word', 'held', 'by', asked.claimed_by,
                              'until', asked.claimed_until);
  ELSIF (SELECT count(*) FROM approval b
          WHERE b.claimed_by = p_person AND b.state = 'pending'
            AND b.claimed_until > clock_timestamp()
            AND b.approval_id <> p_approval) >= p_held_max THEN
    RETURN jsonb_build_object('word', 'full');
  END IF;
  SELECT least(clock_timestamp() + p_lease_s * interval '1 second',
               min(n.made_at) + p_total_s * interval '1 second') INTO until
    FROM approval_notice n
   WHERE n.approval_id = p_approval AND n.person_id = p_person
     AND n.kind IN ('claimed', 'handed_over');
  IF until <= clock_timestamp() THEN
    RETURN jsonb_build_object('word', 'spent');
  END IF;
  UPDATE approval SET claimed_by = p_person, claimed_until = until
   WHERE approval_id = p_approval;
  IF asked.claimed_by <> p_person OR asked.claimed_until <= clock_timestamp() THEN
    INSERT INTO approval_notice (approval_id, kind, key, person_id)
    VALUES (p_approval, 'claimed', gen_random_uuid()::text, p_person);
  END IF;
  RETURN jsonb_build_object('word', 'claimed', 'by', p_person, 'until', until);
END
$$;

-- Give a claim back, or to a deputy (p_to); returns whether it was this person's.
CREATE FUNCTION approval_release(p_approval uuid, p_person text, p_to text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  UPDATE approval
     SET claimed_by = p_to,
         claimed_until = CASE WHEN p_to = '' THEN NULL ELSE claimed_until END
   WHERE approval_id = p_approval AND state = 'pending' AND claimed_by = p_person
     AND claimed_until > clock_timestamp();
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO approval_notice (approval_id, kind, key, person_id)
  VALUES (p_approval, CASE WHEN p_to = '' THEN 'released' ELSE 'handed_over' END,
          gen_random_uuid()::text, p_to);
  RETURN true;
END
$$;

-- Note that a person is away; an empty deputy ends it.
CREATE FUNCTION approval_away_set(p_person text, p_deputy text, p_until timestamptz)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  IF p_deputy = '' THEN
    DELETE FROM approval_away WHERE person_id = p_person;
    RETURN;
  END IF;
  INSERT INTO approval_away (person_id, deputy, away_until)
  VALUES (p_person, p_deputy, p_until)
      ON CONFLICT (person_id) DO UPDATE
     SET deputy = EXCLUDED.deputy, away_until = EXCLUDED.away_until,
         set_at = clock_timestamp();
END
$$;

-- Store a question of an approver. p: {"approval_id", "question_id", "person_id", "at",
-- "payload", "payloads": [...], "entries": [...], "most"}.
-- Returns asked | closed | full.
CREATE FUNCTION question_ask(p jsonb) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  mine  uuid := p ->> 'approval_id';
  there integer;
BEGIN
  PERFORM FROM approval WHERE approval_id = mine AND state = 'pending'
     AND expires_at > clock_timestamp() FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'closed';
  END IF;
  SELECT count(*) INTO there FROM approval_question WHERE approval_id = mine;
  IF there >= (p ->> 'most')::integer THEN
    RETURN 'full';
  END IF;
  PERFORM keep(p -> 'payloads', p -> 'entries');
  INSERT INTO approval_question (question_id, approval_id, number, asked_by, payload_id,
                                 at)
  VALUES ((p ->> 'question_id')::uuid, mine, there + 1, p ->> 'person_id',
          (p ->> 'payload')::uuid, (p ->> 'at')::timestamptz);
  INSERT INTO approval_notice (approval_id, kind, key)
  VALUES (mine, 'question', p ->> 'question_id');
  RETURN 'asked';
END
$$;

-- Store an agent's answer; whoever asked is told. p: {"approval_id", "question_id", "at",
-- "payload", "payloads": [...], "entries": [...]}.
-- Returns answered | closed | before | unknown.
CREATE FUNCTION question_answer(p jsonb) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  mine  uuid := p ->> 'approval_id';
  was  record;
BEGIN
  PERFORM FROM approval WHERE approval_id = mine AND state = 'pending'
     AND expires_at > clock_timestamp() FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'closed';
  END IF;
  SELECT * INTO was FROM approval_question
   WHERE question_id = (p ->> 'question_id')::uuid AND approval_id = mine FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'unknown';
  ELSIF was.answered_at IS NOT NULL THEN
    RETURN 'before';
  END IF;
  PERFORM keep(p -> 'payloads', p -> 'entries');
  UPDATE approval_question
     SET answer_payload = (p ->> 'payload')::uuid,
         answered_at = (p ->> 'at')::timestamptz
   WHERE question_id = was.question_id;
  INSERT INTO approval_notice (approval_id, kind, key, person_id)
  VALUES (mine, 'answer', was.question_id::text, stands_in_for(was.asked_by));
  RETURN 'answered';
END
$$;

REVOKE ALL ON FUNCTION
  stands_in_for, approval_seat_add, approval_begins, approval_moves, approval_mark,
  approval_claim, approval_release, approval_away_set, question_ask, question_answer
  FROM PUBLIC;
GRANT SELECT ON approval_move, approval_seat, approval_notice, approval_question,
  approval_away TO cf_broker;
GRANT UPDATE (sent_at) ON approval_notice TO cf_broker;
GRANT EXECUTE ON FUNCTION
  approval_mark, approval_claim, approval_release, approval_away_set, question_ask,
  question_answer
  TO cf_broker;
