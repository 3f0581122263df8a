-- Budgets and reservations: what was taken of each limit, and by which action.
--
-- The rule is broker/core/limit.py: posted + held + amount <= limit. These functions
-- execute it under locks and decide nothing else; the limit comes with each call, from
-- signed rules. None of them begins or ends a transaction, so the caller can make an
-- action, its reservation and its audit entry durable together.
--
-- Order of locks, everywhere: the action (advisory), then budgets by
-- (budget_id, window_start), all that the transaction needs in one go. One action per
-- transaction, but for a batch of reads: that locks all of its actions in the order of
-- their ids, then all budgets of the batch (reads.sql).
-- The row of a budget locks its buckets and the customers that it has counted.

CREATE TABLE budget (
  budget_id    text        NOT NULL CHECK (length(budget_id) = 64),
  window_start timestamptz NOT NULL,
  rule_id      text        NOT NULL,
  span         text        NOT NULL
    CHECK (span IN ('hour', 'day', 'month', 'last_hour', 'last_day', 'last_30_days',
                    'ever', 'pending')),
  unit         text        NOT NULL,
  scope        jsonb       NOT NULL DEFAULT '{}',
  posted       bigint      NOT NULL DEFAULT 0 CHECK (posted >= 0),
  held         bigint      NOT NULL DEFAULT 0 CHECK (held >= 0),
  version      bigint      NOT NULL DEFAULT 0,
  frozen       boolean     NOT NULL DEFAULT false,
  -- How often it was frozen. Nothing lowers it: a release says up to which one in a
  -- signed row, and whoever decides looks for that row.
  freezes      bigint      NOT NULL DEFAULT 0 CHECK (freezes >= 0),
  -- The limit of the newest admission, for people; it never decides.
  limit_seen   bigint      NOT NULL DEFAULT 0,
  PRIMARY KEY (budget_id, window_start)
) WITH (fillfactor = 50);
COMMENT ON TABLE budget IS
  'One counter: a rule, a scope (opaque values) and a window. unit is a currency '
  '(minor units), count, customers or records. There is no CHECK against the limit: it '
  'may be lowered, and an upstream may report more than was reserved. Of a sliding '
  'window, posted is all that ever was; budget_bucket has what it covers.';

CREATE TABLE budget_bucket (
  budget_id text        NOT NULL CHECK (length(budget_id) = 64),
  bucket    timestamptz NOT NULL,
  posted    bigint      NOT NULL DEFAULT 0 CHECK (posted >= 0),
  PRIMARY KEY (budget_id, bucket)
) WITH (fillfactor = 50);
COMMENT ON TABLE budget_bucket IS
  'What a sliding window has posted, by when it was posted; held counts whole.';

CREATE TABLE budget_member (
  budget_id    text        NOT NULL CHECK (length(budget_id) = 64),
  window_start timestamptz NOT NULL,
  member       text        NOT NULL CHECK (length(member) BETWEEN 1 AND 200),
  PRIMARY KEY (budget_id, window_start, member)
);
COMMENT ON TABLE budget_member IS
  'Customers (opaque references) that a budget has counted in a window.';

CREATE TABLE reservation (
  action_id    uuid        NOT NULL,
  budget_id    text        NOT NULL,
  window_start timestamptz NOT NULL,
  amount       bigint      NOT NULL CHECK (amount BETWEEN 1 AND 9007199254740991),
  posted       bigint      CHECK (posted BETWEEN 0 AND 9007199254740991),
  state        text        NOT NULL
    CHECK (state IN ('held', 'executing', 'unknown', 'posted', 'voided')),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (action_id, budget_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE reservation IS
  'What one action takes from one budget. All rows of an action move together.';

-- Which moves there are; core/limit.py holds the same table.
CREATE TABLE reservation_move (
  old text NOT NULL,
  new text NOT NULL,
  PRIMARY KEY (old, new)
);
INSERT INTO reservation_move VALUES
  ('held', 'executing'), ('held', 'voided'),
  ('executing', 'posted'), ('executing', 'voided'), ('executing', 'unknown'),
  ('unknown', 'posted'), ('unknown', 'voided');

-- The bucket of a sliding window that a moment belongs to, and the oldest that the
-- window covers; core/limits/window.py does the same arithmetic. Null for the others.
CREATE FUNCTION budget_bucket_of(p_span text, p_at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
AS $$
  SELECT date_bin(CASE p_span WHEN 'last_hour' THEN interval '5 minutes'
                              WHEN 'last_day' THEN interval '1 hour'
                              WHEN 'last_30_days' THEN interval '24 hours' END,
                  p_at, timestamptz '1970-01-01 00:00:00+00')
$$;

CREATE FUNCTION budget_since(p_span text, p_at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
AS $$
  SELECT budget_bucket_of(p_span, p_at)
         - CASE p_span WHEN 'last_hour' THEN interval '1 hour'
                       WHEN 'last_day' THEN interval '24 hours'
                       ELSE interval '720 hours' END
$$;

-- What a budget has posted that counts at a moment.
CREATE FUNCTION budget_posted(
  p_id text, p_span text, p_posted bigint, p_at timestamptz
) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  IF p_span NOT IN ('last_hour', 'last_day', 'last_30_days') THEN
    RETURN p_posted;
  END IF;
  RETURN (SELECT coalesce(sum(k.posted), 0) FROM budget_bucket k
           WHERE k.budget_id = p_id AND k.bucket >= budget_since(p_span, p_at));
END
$$;

-- Note in the buckets of sliding windows what was just posted.
-- The budgets are locked.
CREATE FUNCTION budgets_slide(
  p_ids text[], p_spans text[], p_posted bigint[], p_at timestamptz
) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  INSERT INTO budget_bucket AS k (budget_id, bucket, posted)
  SELECT l.budget_id, budget_bucket_of(l.span, p_at), l.posted
    FROM unnest(p_ids, p_spans, p_posted) AS l(budget_id, span, posted)
   WHERE l.span IN ('last_hour', 'last_day', 'last_30_days') AND l.posted > 0
      ON CONFLICT (budget_id, bucket) DO UPDATE SET posted = k.posted + EXCLUDED.posted;
  -- What left the window twice its length ago: a clock that jumps may come back.
  DELETE FROM budget_bucket k
   USING unnest(p_ids, p_spans) AS l(budget_id, span)
   WHERE k.budget_id = l.budget_id
     AND k.bucket < budget_since(l.span, budget_since(l.span, p_at));
END
$$;

-- Refuse lines whose fixed window is not that of this database's clock, a minute around
-- its edge allowed: a replica whose clock jumps ahead would find tomorrow's empty.
CREATE FUNCTION budgets_current(p_lines jsonb) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  now_at timestamptz := clock_timestamp();
BEGIN
  IF EXISTS (
    SELECT FROM jsonb_to_recordset(p_lines) AS l("window" text, window_start timestamptz)
     WHERE l."window" IN ('hour', 'day', 'month')
       AND l.window_start NOT IN (
         date_trunc(l."window", now_at - interval '60 seconds', 'UTC'),
         date_trunc(l."window", now_at + interval '60 seconds', 'UTC'))) THEN
    RAISE EXCEPTION 'a window is not the one of now' USING ERRCODE = 'CF101';
  END IF;
END
$$;

-- Make the rows that are missing, before any row is locked: inserting while holding
-- locks would wait for others out of order.
CREATE FUNCTION budgets_create(p_lines jsonb) RETURNS void
LANGUAGE sql
AS $$
  INSERT INTO budget (budget_id, window_start, rule_id, span, unit, scope)
  SELECT l.budget_id, l.window_start, l.rule_id, l."window", l.unit,
         coalesce(l.scope, '{}')
    FROM jsonb_to_recordset(p_lines) AS l(budget_id text, window_start timestamptz,
           rule_id text, "window" text, unit text, scope jsonb)
   ORDER BY l.budget_id, l.window_start
      ON CONFLICT (budget_id, window_start) DO NOTHING
$$;

-- Lock all budgets of an action in order, and those of the given keys.
CREATE FUNCTION budgets_lock(
  p_action uuid, p_ids text[] DEFAULT '{}', p_starts timestamptz[] DEFAULT '{}'
) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM FROM budget b
    WHERE (b.budget_id, b.window_start) IN (
      SELECT r.budget_id, r.window_start FROM reservation r WHERE r.action_id = p_action
      UNION
      SELECT l.budget_id, l.window_start
        FROM unnest(p_ids, p_starts) AS l(budget_id, window_start))
    ORDER BY b.budget_id, b.window_start
      FOR UPDATE;
END
$$;

-- Take what an action needs from all its budgets, or from none.
--
-- p_lines: [{"budget_id", "window_start", "rule_id", "window", "unit", "scope": {},
--            "limit", "amount", "per_action": int|null, "version": int|null,
--            "frozen": true if who asks has seen it frozen, or no release of it}], at
-- most 64; p_at is now, unless a test says otherwise.
-- Returns {"admitted", "state", "over": [{"budget_id", "posted", "held", "frozen"}],
--          "stale": [budget_id]}; held there does not include this action.
--
-- Again with the same lines: the same answer, nothing taken twice. With other lines
-- while held (a new window, another policy): what was held is given back and the new
-- lines are taken, together or not at all. Once it executes, lines no longer matter.
-- A line that does not grow needs no room again: a lowered limit binds new ones only.
CREATE FUNCTION reserve(
  p_action uuid, p_lines jsonb, p_at timestamptz DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  ids     text[];
  starts  timestamptz[];
  amounts bigint[];
  limits  bigint[];
  caps    bigint[];
  seen    bigint[];
  at      timestamptz := coalesce(p_at, clock_timestamp());
  was     text;
  own     bigint := 0;
  line    record;
  checked int := 0;
  barred  boolean;
  over    jsonb := '[]';
  stale   jsonb := '[]';
BEGIN
  IF jsonb_array_length(p_lines) > 64 THEN
    RAISE EXCEPTION 'more than 64 lines' USING ERRCODE = 'program_limit_exceeded';
  END IF;
  SELECT array_agg(l.budget_id), array_agg(l.window_start), array_agg(l.amount),
         array_agg(l."limit"), array_agg(l.per_action), array_agg(l.version),
         bool_or(l.frozen)
    INTO ids, starts, amounts, limits, caps, seen, barred
    FROM (SELECT * FROM jsonb_to_recordset(p_lines) AS o(budget_id text,
            window_start timestamptz, amount bigint, "limit" bigint, per_action bigint,
            version bigint, frozen boolean)
           ORDER BY o.budget_id, o.window_start) AS l;
  PERFORM pg_advisory_xact_lock(hashtextextended(p_action::text, 0));
  SELECT r.state INTO was FROM reservation r WHERE r.action_id = p_action LIMIT 1;
  IF was IS NOT NULL AND was <> 'held' THEN
    RETURN jsonb_build_object('admitted', was = 'executing', 'state', was,
                              'over', over, 'stale', stale);
  END IF;
  FOR i IN 1..coalesce(cardinality(ids), 0) LOOP
    PERFORM FROM budget b WHERE b.budget_id = ids[i] AND b.window_start = starts[i];
    IF NOT FOUND THEN
      PERFORM budgets_create(p_lines);
      EXIT;
    END IF;
  END LOOP;
  IF barred THEN
    SELECT jsonb_agg(jsonb_build_object('budget_id', b.budget_id, 'posted', b.posted,
             'held', b.held, 'frozen', true) ORDER BY b.budget_id) INTO over
      FROM jsonb_to_recordset(p_lines)
             AS l(budget_id text, window_start timestamptz, frozen boolean)
      JOIN budget b USING (budget_id, window_start)
     WHERE l.frozen;
    RETURN jsonb_build_object('admitted', false, 'state', was,
                              'over', over, 'stale', stale);
  END IF;
  IF was IS NULL AND reserve_new(p_action, ids, starts, amounts, limits, caps, seen, at)
  THEN
    RETURN jsonb_build_object('admitted', true,
      'state', CASE WHEN ids IS NOT NULL THEN 'held' END, 'over', over, 'stale', stale);
  END IF;
  IF was IS NOT NULL THEN
    PERFORM budgets_lock(p_action, ids, starts);
  END IF;
  FOR line IN
    SELECT b.*, l.amount, l.most, l.cap, l.seen
      FROM unnest(ids, starts, amounts, limits, caps, seen)
             AS l(budget_id, window_start, amount, most, cap, seen)
      JOIN budget b USING (budget_id, window_start)
     ORDER BY b.budget_id, b.window_start
       FOR UPDATE OF b
  LOOP
    checked := checked + 1;
    IF was IS NOT NULL THEN
      own := reservation_own(p_action, line.budget_id, line.window_start);
    END IF;
    IF line.span LIKE 'last%' THEN
      line.posted := budget_posted(line.budget_id, line.span, line.posted, at);
    END IF;
    IF line.frozen OR (line.amount > own AND (line.amount > line.cap
         OR (line.posted + line.held - own + line.amount <= line.most) IS NOT TRUE))
    THEN
      over := over || jsonb_build_object('budget_id', line.budget_id,
        'posted', line.posted, 'held', line.held - own, 'frozen', line.frozen);
    ELSIF line.amount > own AND line.seen <> line.version THEN
      stale := stale || to_jsonb(line.budget_id);
    END IF;
  END LOOP;
  IF checked <> coalesce(cardinality(ids), 0) THEN
    RAISE EXCEPTION 'a line names no budget, or two lines name one';
  END IF;
  IF over <> '[]' OR stale <> '[]' THEN
    RETURN jsonb_build_object('admitted', false, 'state', was,
                              'over', over, 'stale', stale);
  END IF;
  IF was IS NULL OR reservation_clear(p_action, ids, starts, amounts) THEN
    UPDATE budget b
       SET held = b.held + l.amount, version = b.version + 1, limit_seen = l.most
      FROM unnest(ids, starts, amounts, limits)
             AS l(budget_id, window_start, amount, most)
     WHERE b.budget_id = l.budget_id AND b.window_start = l.window_start;
    INSERT INTO reservation (action_id, budget_id, window_start, amount, state)
    SELECT p_action, l.budget_id, l.window_start, l.amount, 'held'
      FROM unnest(ids, starts, amounts) AS l(budget_id, window_start, amount);
  END IF;
  RETURN jsonb_build_object('admitted', true,
    'state', CASE WHEN ids IS NOT NULL THEN 'held' END, 'over', over, 'stale', stale);
END
$$;

-- Take the lines of an action that holds nothing yet, if all have room; return whether
-- they were taken. If one has none, nothing is left behind but the locks, and the caller
-- finds out which.
--
-- This is what nearly every action does, so little is done while others wait for a busy
-- budget: what the action holds is written before the first lock. Rows of budgets exist.
CREATE FUNCTION reserve_new(
  p_action uuid, p_ids text[], p_starts timestamptz[], p_amounts bigint[],
  p_limits bigint[], p_caps bigint[], p_seen bigint[], p_at timestamptz
) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
  fitting int;
  slides  boolean;
BEGIN
  -- The table refuses two lines of one budget, and amounts that are none.
  INSERT INTO reservation (action_id, budget_id, window_start, amount, state)
  SELECT p_action, l.budget_id, l.window_start, l.amount, 'held'
    FROM unnest(p_ids, p_starts, p_amounts) AS l(budget_id, window_start, amount);
  IF cardinality(p_ids) = 1 THEN
    -- One statement locks, asks and takes.
    UPDATE budget b
       SET held = b.held + p_amounts[1], version = b.version + 1,
           limit_seen = p_limits[1]
     WHERE b.budget_id = p_ids[1] AND b.window_start = p_starts[1]
       AND b.span NOT LIKE 'last%'
       AND reserve_fits(b.posted + b.held, b.frozen, b.version,
                        p_amounts[1], p_limits[1], p_caps[1], p_seen[1]);
    IF FOUND THEN
      RETURN true;
    END IF;
  END IF;
  SELECT count(*) FILTER (WHERE reserve_fits(
           b.posted + b.held, b.frozen, b.version, b.amount, b.most, b.cap, b.seen)),
         bool_or(b.span LIKE 'last%')
    INTO fitting, slides
    FROM (SELECT b.posted, b.held, b.frozen, b.version, b.span,
                 l.amount, l.most, l.cap, l.seen
            FROM unnest(p_ids, p_starts, p_amounts, p_limits, p_caps, p_seen)
                   AS l(budget_id, window_start, amount, most, cap, seen)
            JOIN budget b USING (budget_id, window_start)
           ORDER BY b.budget_id, b.window_start
             FOR UPDATE OF b) AS b;
  IF slides THEN
    -- Buckets are other rows: they are read by a statement after the locks.
    SELECT count(*) INTO fitting
      FROM unnest(p_ids, p_starts, p_amounts, p_limits, p_caps, p_seen)
             AS l(budget_id, window_start, amount, most, cap, seen)
      JOIN budget b USING (budget_id, window_start)
     WHERE reserve_fits(budget_posted(b.budget_id, b.span, b.posted, p_at) + b.held,
                        b.frozen, b.version, l.amount, l.most, l.cap, l.seen);
  END IF;
  IF fitting < cardinality(p_ids) THEN
    DELETE FROM reservation WHERE action_id = p_action;
    RETURN false;
  END IF;
  UPDATE budget b
     SET held = b.held + l.amount, version = b.version + 1, limit_seen = l.most
    FROM unnest(p_ids, p_starts, p_amounts, p_limits)
           AS l(budget_id, window_start, amount, most)
   WHERE b.budget_id = l.budget_id AND b.window_start = l.window_start;
  RETURN true;
END
$$;

-- Whether one line of a new action has room. A limit of null is none.
CREATE FUNCTION reserve_fits(
  p_taken bigint, p_frozen boolean, p_version bigint,
  p_amount bigint, p_limit bigint, p_cap bigint, p_seen bigint
) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
  SELECT NOT p_frozen AND p_taken + p_amount <= p_limit
         AND p_amount <= coalesce(p_cap, p_amount)
         AND coalesce(p_seen, p_version) = p_version
$$;

-- What an action holds of one budget, 0 if nothing. By the primary key: the planner
-- must not read all reservations of a busy budget instead.
CREATE FUNCTION reservation_own(
  p_action uuid, p_budget text, p_start timestamptz
) RETURNS bigint
LANGUAGE sql STABLE
AS $$
  WITH mine AS MATERIALIZED (
    SELECT * FROM reservation WHERE action_id = p_action)
  SELECT coalesce(sum(amount), 0)::bigint FROM mine
   WHERE budget_id = p_budget AND window_start = p_start
$$;

-- Give back what an action holds unless it is exactly this; return whether it was given
-- back. All locks are held.
CREATE FUNCTION reservation_clear(
  p_action uuid, p_ids text[], p_starts timestamptz[], p_amounts bigint[]
) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
  IF NOT EXISTS (
    (SELECT * FROM unnest(p_ids, p_starts, p_amounts)
     EXCEPT SELECT r.budget_id, r.window_start, r.amount
              FROM reservation r WHERE r.action_id = p_action)
    UNION ALL
    (SELECT r.budget_id, r.window_start, r.amount
       FROM reservation r WHERE r.action_id = p_action
     EXCEPT SELECT * FROM unnest(p_ids, p_starts, p_amounts))) THEN
    RETURN false;
  END IF;
  UPDATE budget b SET held = b.held - r.amount, version = b.version + 1
    FROM reservation r
   WHERE r.action_id = p_action
     AND b.budget_id = r.budget_id AND b.window_start = r.window_start;
  DELETE FROM reservation WHERE action_id = p_action;
  RETURN true;
END
$$;

-- Answer where a reservation is: {"made", "state", "alarms", "frozen"}.
CREATE FUNCTION reservation_answer(
  p_made boolean, p_state text,
  p_alarms text[] DEFAULT '{}', p_frozen text[] DEFAULT '{}'
) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$
  SELECT jsonb_build_object('made', coalesce(p_made, false), 'state', p_state,
                            'alarms', p_alarms, 'frozen', p_frozen)
$$;

-- Lock an action's reservation and return its state, null if it has none.
CREATE FUNCTION reservation_lock(p_action uuid) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(p_action::text, 0));
  RETURN (SELECT r.state FROM reservation r WHERE r.action_id = p_action LIMIT 1);
END
$$;

-- The fence before anything is sent. A frozen budget lets nothing through.
CREATE FUNCTION reservation_execute(p_action uuid) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  was    text := reservation_lock(p_action);
  frozen text[];
BEGIN
  IF was = 'executing' THEN
    RETURN reservation_answer(true, was);
  ELSIF NOT reservation_may(was, 'executing') THEN
    RETURN reservation_answer(false, was);
  END IF;
  SELECT array_agg(b.budget_id ORDER BY b.budget_id) INTO frozen
    FROM reservation r JOIN budget b USING (budget_id, window_start)
   WHERE r.action_id = p_action AND b.frozen;
  IF frozen IS NOT NULL THEN
    RETURN reservation_answer(false, was, p_frozen => frozen);
  END IF;
  UPDATE reservation SET state = 'executing', updated_at = now()
   WHERE action_id = p_action;
  RETURN reservation_answer(true, 'executing');
END
$$;

-- Nobody knows what happened: the money stays held until somebody does.
CREATE FUNCTION reservation_unknown(p_action uuid) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  was text := reservation_lock(p_action);
BEGIN
  IF was = 'unknown' THEN
    RETURN reservation_answer(true, was);
  ELSIF NOT reservation_may(was, 'unknown') THEN
    RETURN reservation_answer(false, was);
  END IF;
  UPDATE reservation SET state = 'unknown', updated_at = now()
   WHERE action_id = p_action;
  RETURN reservation_answer(true, 'unknown');
END
$$;

-- Give back what surely was not spent. With p_only_held (an expiry), what executes
-- already is left alone.
CREATE FUNCTION reservation_void(p_action uuid, p_only_held boolean DEFAULT false)
RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  was text := reservation_lock(p_action);
BEGIN
  IF was = 'voided' THEN
    RETURN reservation_answer(true, was);
  ELSIF NOT reservation_may(was, 'voided') OR (p_only_held AND was <> 'held') THEN
    RETURN reservation_answer(false, was);
  END IF;
  PERFORM budgets_lock(p_action);
  UPDATE budget b SET held = b.held - r.amount, version = b.version + 1
    FROM reservation r
   WHERE r.action_id = p_action
     AND b.budget_id = r.budget_id AND b.window_start = r.window_start;
  UPDATE reservation SET state = 'voided', updated_at = now()
   WHERE action_id = p_action;
  RETURN reservation_answer(true, 'voided');
END
$$;

-- Post what the receipt says was spent; null posts what was reserved. Counts post what
-- they reserved. More than reserved is posted in full, freezes the budgets of money
-- and raises an alarm; another currency than reserved leaves the outcome unknown.
CREATE FUNCTION reservation_post(
  p_action uuid, p_actual bigint DEFAULT NULL, p_currency text DEFAULT NULL,
  p_at timestamptz DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  was    text := reservation_lock(p_action);
  alarms text[] := '{}';
  frozen text[];
BEGIN
  IF p_actual NOT BETWEEN 0 AND 9007199254740991 THEN
    RAISE EXCEPTION 'an amount of % cannot be posted', p_actual
      USING ERRCODE = 'numeric_value_out_of_range';
  END IF;
  IF was IN ('posted', 'voided') THEN
    RETURN reservation_answer(was = 'posted', was,
                              reservation_contradictions(p_action, was, p_actual));
  ELSIF NOT reservation_may(was, 'posted') THEN
    RETURN reservation_answer(false, was);
  ELSIF EXISTS (SELECT FROM reservation r JOIN budget b USING (budget_id, window_start)
                 WHERE r.action_id = p_action
                   AND b.unit <> 'count' AND b.unit <> p_currency) THEN
    UPDATE reservation SET state = 'unknown', updated_at = now()
     WHERE action_id = p_action;
    RETURN reservation_answer(false, 'unknown', array['currency_mismatch']);
  END IF;
  PERFORM budgets_lock(p_action);
  UPDATE reservation r
     SET state = 'posted', updated_at = now(),
         posted = CASE WHEN b.unit = 'count' THEN r.amount
                       ELSE coalesce(p_actual, r.amount) END
    FROM budget b
   WHERE r.action_id = p_action
     AND b.budget_id = r.budget_id AND b.window_start = r.window_start;
  UPDATE budget b
     SET held = b.held - r.amount, version = b.version + 1,
         posted = b.posted + CASE WHEN b.span = 'pending' THEN 0 ELSE r.posted END,
         frozen = b.frozen OR (r.posted > r.amount AND b.span <> 'pending'),
         freezes = b.freezes + (r.posted > r.amount AND b.span <> 'pending')::int
    FROM reservation r
   WHERE r.action_id = p_action
     AND b.budget_id = r.budget_id AND b.window_start = r.window_start;
  PERFORM budgets_slide(array_agg(b.budget_id), array_agg(b.span),
                        array_agg(r.posted), coalesce(p_at, clock_timestamp()))
     FROM reservation r JOIN budget b USING (budget_id, window_start)
    WHERE r.action_id = p_action AND b.span LIKE 'last%'
   HAVING count(*) > 0;
  SELECT array_agg(b.budget_id ORDER BY b.budget_id) INTO frozen
    FROM reservation r JOIN budget b USING (budget_id, window_start)
   WHERE r.action_id = p_action AND r.posted > r.amount AND b.frozen;
  IF EXISTS (SELECT FROM reservation r
              WHERE r.action_id = p_action AND r.posted > r.amount) THEN
    alarms := array['posted_above_reserved'];
  END IF;
  RETURN reservation_answer(true, 'posted', alarms, coalesce(frozen, '{}'));
END
$$;

-- What a late receipt says against what was settled before.
CREATE FUNCTION reservation_contradictions(
  p_action uuid, p_state text, p_actual bigint
) RETURNS text[]
LANGUAGE sql STABLE
AS $$
  SELECT CASE
    WHEN p_state = 'voided' AND coalesce(p_actual, 1) > 0
      THEN array['posted_after_void']
    WHEN p_state = 'posted' AND EXISTS (
      SELECT FROM reservation r JOIN budget b USING (budget_id, window_start)
       WHERE r.action_id = p_action AND b.unit <> 'count' AND r.posted <> p_actual)
      THEN array['posted_differs']
    ELSE '{}' END
$$;

CREATE FUNCTION reservation_may(p_old text, p_new text) RETURNS boolean
LANGUAGE sql STABLE
AS $$
  SELECT EXISTS (SELECT FROM reservation_move WHERE old = p_old AND new = p_new)
$$;

-- Lock the budgets of these lines in order, making those that are missing, and those
-- that these actions hold.
CREATE FUNCTION readings_lock(p_lines jsonb, p_actions uuid[] DEFAULT '{}')
RETURNS void
LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
  IF EXISTS (
    SELECT FROM jsonb_to_recordset(p_lines)
             AS l(budget_id text, window_start timestamptz)
     WHERE NOT EXISTS (SELECT FROM budget b WHERE b.budget_id = l.budget_id
                          AND b.window_start = l.window_start)) THEN
    PERFORM budgets_create(p_lines);
  END IF;
  PERFORM FROM budget b
    WHERE (b.budget_id, b.window_start) IN (
      SELECT l.budget_id, l.window_start
        FROM jsonb_to_recordset(p_lines)
               AS l(budget_id text, window_start timestamptz)
      UNION
      SELECT r.budget_id, r.window_start FROM reservation r
       WHERE r.action_id = ANY (p_actions))
    ORDER BY b.budget_id, b.window_start
      FOR UPDATE;
END
$$;

-- Count a read that is about to happen, if every line has room; nothing is held for it
-- and nothing comes back, so that asking in vain counts too. The budgets are locked.
--
-- Lines as for reserve, and "member": the customer to count once, or ''. A customer who
-- is counted already takes nothing.
CREATE FUNCTION readings_take(p_lines jsonb, p_at timestamptz DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  at   timestamptz := coalesce(p_at, clock_timestamp());
  line record;
BEGIN
  IF EXISTS (
    SELECT FROM jsonb_to_recordset(p_lines) AS l(budget_id text,
             window_start timestamptz, amount bigint, "limit" bigint, version bigint,
             member text)
      LEFT JOIN budget b USING (budget_id, window_start)
     WHERE b.frozen IS NOT FALSE OR l.amount IS NULL OR (
       NOT EXISTS (SELECT FROM budget_member m WHERE m.budget_id = l.budget_id
                      AND m.window_start = l.window_start AND m.member = l.member)
       AND (l.version <> b.version
            OR (budget_posted(b.budget_id, b.span, b.posted, at) + b.held + l.amount
                <= l."limit") IS NOT TRUE))) THEN
    RETURN false;
  END IF;
  FOR line IN
    SELECT l.* FROM jsonb_to_recordset(p_lines) AS l(budget_id text,
             window_start timestamptz, amount bigint, "limit" bigint, member text)
  LOOP
    IF line.member <> '' THEN
      INSERT INTO budget_member (budget_id, window_start, member)
      VALUES (line.budget_id, line.window_start, line.member) ON CONFLICT DO NOTHING;
      CONTINUE WHEN NOT FOUND;
      -- Whom older windows have counted is of no use any more.
      DELETE FROM budget_member m
       WHERE m.budget_id = line.budget_id
         AND m.window_start < line.window_start - interval '1 day';
    END IF;
    PERFORM readings_post(line.budget_id, line.window_start, line.amount,
                          line."limit", at);
  END LOOP;
  RETURN true;
END
$$;

CREATE FUNCTION readings_post(
  p_id text, p_start timestamptz, p_amount bigint, p_limit bigint, p_at timestamptz
) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  span text;
BEGIN
  UPDATE budget b
     SET posted = b.posted + p_amount, version = b.version + 1, limit_seen = p_limit
   WHERE b.budget_id = p_id AND b.window_start = p_start
  RETURNING b.span INTO span;
  IF span LIKE 'last%' THEN
    PERFORM budgets_slide(ARRAY[p_id], ARRAY[span], ARRAY[p_amount], p_at);
  END IF;
END
$$;

-- Count what a finished read brought beside its first record, whatever the limit: it
-- was read. The budgets are locked.
CREATE FUNCTION readings_add(p_lines jsonb, p_at timestamptz DEFAULT NULL) RETURNS void
LANGUAGE sql
AS $$
  SELECT readings_post(l.budget_id, l.window_start, l.amount, l."limit",
                       coalesce(p_at, clock_timestamp()))
    FROM jsonb_to_recordset(p_lines) AS l(budget_id text, window_start timestamptz,
           amount bigint, "limit" bigint)
$$;

-- Let a frozen budget admit again, and stage the entry that says who did. Returns how
-- many windows were frozen.
CREATE FUNCTION budget_release(p_id text, p_entries jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  freed bigint;
BEGIN
  PERFORM FROM budget b WHERE b.budget_id = p_id AND b.frozen
    ORDER BY b.window_start FOR UPDATE;
  UPDATE budget b SET frozen = false, version = b.version + 1
   WHERE b.budget_id = p_id AND b.frozen;
  GET DIAGNOSTICS freed = ROW_COUNT;
  IF freed > 0 THEN
    INSERT INTO audit_stage (entry_id, leaf)
    SELECT e.entry_id, decode(e.leaf, 'base64')
      FROM jsonb_to_recordset(p_entries) AS e(entry_id uuid, leaf text);
  END IF;
  RETURN freed;
END
$$;

-- What budgets have posted and hold, for a policy to look at; what the given action
-- holds itself is left out. A budget without a row is not returned. known says whether
-- the given customer was counted.
CREATE FUNCTION budget_totals(
  p_ids text[], p_starts timestamptz[], p_besides uuid DEFAULT NULL,
  p_member text DEFAULT '', p_at timestamptz DEFAULT NULL
) RETURNS TABLE (
  budget_id text, window_start timestamptz,
  posted bigint, held bigint, version bigint, frozen boolean, freezes bigint,
  known boolean
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
  WITH mine AS MATERIALIZED (
    SELECT * FROM reservation
     WHERE action_id = p_besides AND state IN ('held', 'executing', 'unknown'))
  SELECT b.budget_id, b.window_start,
         budget_posted(b.budget_id, b.span, b.posted,
                       coalesce(p_at, clock_timestamp())),
         b.held - coalesce(m.amount, 0), b.version, b.frozen, b.freezes,
         b.unit = 'customers' AND EXISTS (
           SELECT FROM budget_member k
            WHERE k.budget_id = b.budget_id AND k.window_start = b.window_start
              AND k.member = p_member)
    FROM unnest(p_ids, p_starts) AS l(budget_id, window_start)
    JOIN budget b USING (budget_id, window_start)
    LEFT JOIN mine m USING (budget_id, window_start)
$$;

-- Rates while Valkey is away (Tier 3). Not logged: after a crash the counters are
-- empty, as they would be in Valkey.
CREATE UNLOGGED TABLE rate_counter (
  key    text   NOT NULL PRIMARY KEY CHECK (length(key) <= 300),
  tat_us bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE rate_counter IS
  'Theoretical arrival times of GCRA (broker/core/gcra.py), microseconds since 1970.';

-- Charge all counters, or none if one has no room; core/gcra.py states the rule.
-- Returns {"allowed", "now_us", "tats_us": [what each kept before, 0 if new]}, in the
-- order of the keys.
CREATE FUNCTION rate_check(p_keys text[], p_intervals bigint[], p_bursts bigint[])
RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  now_us  bigint;
  found   jsonb := '{}';
  allowed boolean := true;
  line    record;
BEGIN
  IF cardinality(p_keys) > 32 THEN
    RAISE EXCEPTION 'more than 32 keys' USING ERRCODE = 'program_limit_exceeded';
  END IF;
  -- Missing rows first, then all locks in order: see budgets_create.
  INSERT INTO rate_counter (key, tat_us)
  SELECT k.key, 0 FROM unnest(p_keys) AS k(key)
   WHERE NOT EXISTS (SELECT FROM rate_counter c WHERE c.key = k.key)
   ORDER BY k.key
      ON CONFLICT (key) DO NOTHING;
  FOR line IN
    SELECT c.key, c.tat_us, k.interval_us, k.interval_us * k.burst AS tolerance_us
      FROM unnest(p_keys, p_intervals, p_bursts) AS k(key, interval_us, burst)
      JOIN rate_counter c USING (key)
     ORDER BY c.key
       FOR UPDATE OF c
  LOOP
    -- Read once, when the first lock is held, so that time never runs back.
    now_us := coalesce(now_us, extract(epoch FROM clock_timestamp()) * 1000000);
    found := found || jsonb_build_object(line.key, line.tat_us);
    allowed := allowed AND coalesce(
      greatest(now_us, line.tat_us) + line.interval_us <= now_us + line.tolerance_us,
      false);
  END LOOP;
  -- A refused check changes only what is further ahead than its burst can be.
  UPDATE rate_counter c
     SET tat_us = CASE
           WHEN NOT allowed THEN now_us + k.interval_us * k.burst
           ELSE greatest(now_us, c.tat_us) + k.interval_us END
    FROM unnest(p_keys, p_intervals, p_bursts) AS k(key, interval_us, burst)
   WHERE c.key = k.key
     AND (allowed OR c.tat_us > now_us + k.interval_us * k.burst);
  RETURN jsonb_build_object('allowed', allowed, 'now_us', now_us, 'tats_us',
    (SELECT jsonb_agg(found -> k.key ORDER BY k.place)
       FROM unnest(p_keys) WITH ORDINALITY AS k(key, place)));
END
$$;

-- Forget counters that have run empty; called when Valkey counts again.
CREATE FUNCTION rate_sweep() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
  WITH gone AS (
    DELETE FROM rate_counter
     WHERE key IN (
       SELECT key FROM rate_counter
        WHERE tat_us < extract(epoch FROM clock_timestamp()) * 1000000
        ORDER BY key FOR UPDATE SKIP LOCKED)
    RETURNING 1)
  SELECT count(*) FROM gone
$$;

REVOKE ALL ON FUNCTION
  budget_bucket_of, budget_since, budget_posted, budgets_slide, budgets_current,
  budgets_create, budgets_lock, reserve, reserve_new, reserve_fits,
  reservation_own,
  reservation_clear, reservation_answer,
  reservation_lock, reservation_may, reservation_contradictions, reservation_execute,
  reservation_unknown, reservation_void, reservation_post, readings_lock,
  readings_take, readings_add, readings_post, budget_release, budget_totals, rate_check,
  rate_sweep
  FROM PUBLIC;
GRANT SELECT ON budget, reservation, budget_bucket TO cf_broker;
GRANT EXECUTE ON FUNCTION
  budget_bucket_of, budget_since, budget_posted,
  reserve, reservation_execute, reservation_unknown, reservation_void,
  reservation_post, budget_release, budget_totals, rate_check, rate_sweep
  TO cf_broker;
