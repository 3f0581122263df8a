-- Simulated history: what a demo shows before anybody worked with it.
--
-- Its records decide nothing: each has ended when it is stored, none is found by a later
-- call, none holds money, and none ever changes. Only the owner stores them
-- (broker/cli/history), once, on a demo state; the broker's role cannot.

CREATE TABLE simulation (
  only_one   boolean     PRIMARY KEY DEFAULT true CHECK (only_one),
  seed       bigint      NOT NULL,
  first_day  date        NOT NULL,
  last_day   date        NOT NULL,
  actions    integer     NOT NULL,
  entries    integer     NOT NULL,
  loaded_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE simulation IS
  'That a simulated history was loaded, from which seed: its one row keeps it once.';

ALTER TABLE interaction
  ADD COLUMN simulated boolean NOT NULL DEFAULT false,
  ADD CONSTRAINT simulated_interaction_has_ended
    CHECK (NOT simulated OR closed_at IS NOT NULL);
ALTER TABLE turn ADD COLUMN simulated boolean NOT NULL DEFAULT false;
ALTER TABLE action
  ADD COLUMN simulated boolean NOT NULL DEFAULT false,
  ADD CONSTRAINT simulated_action_decides_nothing CHECK (NOT simulated OR (
    state IN ('done', 'refused', 'failed', 'cancelled', 'expired')
    AND dedupe IS NULL AND lease_until IS NULL AND standing_approval = ''));
ALTER TABLE approval
  ADD COLUMN simulated boolean NOT NULL DEFAULT false,
  ADD CONSTRAINT simulated_approval_has_ended
    CHECK (NOT simulated OR (state <> 'pending' AND ended_at IS NOT NULL));
ALTER TABLE vote ADD COLUMN simulated boolean NOT NULL DEFAULT false;
ALTER TABLE reservation
  ADD COLUMN simulated boolean NOT NULL DEFAULT false,
  ADD CONSTRAINT simulated_reservation_holds_nothing
    CHECK (NOT simulated OR state IN ('posted', 'voided'));

ALTER TABLE budget ADD COLUMN simulated boolean NOT NULL DEFAULT false;

CREATE FUNCTION simulated_stays() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION 'a simulated % never changes, and no other becomes one', TG_TABLE_NAME
    USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;
CREATE TRIGGER simulated_interaction_stays BEFORE UPDATE ON interaction
  FOR EACH ROW WHEN (OLD.simulated OR NEW.simulated) EXECUTE FUNCTION simulated_stays();
CREATE TRIGGER simulated_action_stays BEFORE UPDATE ON action
  FOR EACH ROW WHEN (OLD.simulated OR NEW.simulated) EXECUTE FUNCTION simulated_stays();
CREATE TRIGGER simulated_approval_stays BEFORE UPDATE ON approval
  FOR EACH ROW WHEN (OLD.simulated OR NEW.simulated) EXECUTE FUNCTION simulated_stays();
CREATE TRIGGER simulated_vote_stays BEFORE UPDATE ON vote
  FOR EACH ROW WHEN (OLD.simulated OR NEW.simulated) EXECUTE FUNCTION simulated_stays();
CREATE TRIGGER simulated_reservation_stays BEFORE UPDATE ON reservation
  FOR EACH ROW WHEN (OLD.simulated OR NEW.simulated) EXECUTE FUNCTION simulated_stays();

GRANT SELECT ON simulation TO cf_broker;
