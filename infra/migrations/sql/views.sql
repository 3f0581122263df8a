-- Who was shown which card: one signed entry for each person, card and content in a
-- minute, so that a page that is loaded again and again fills no log.
CREATE TABLE card_view (
  approval_id uuid        NOT NULL REFERENCES approval,
  person_id   text        NOT NULL CHECK (length(person_id) BETWEEN 1 AND 100),
  shown       text        NOT NULL CHECK (length(shown) = 64),
  seen_at     timestamptz NOT NULL,
  PRIMARY KEY (approval_id, person_id, shown)
);

-- Stage the entry of a view, unless the same was seen within the last minute. Returns
-- whether it was staged.
CREATE FUNCTION card_viewed(
  p_approval uuid, p_person text, p_shown text, p_entries jsonb
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  INSERT INTO card_view AS v (approval_id, person_id, shown, seen_at)
  VALUES (p_approval, p_person, p_shown, clock_timestamp())
      ON CONFLICT (approval_id, person_id, shown) DO UPDATE
     SET seen_at = EXCLUDED.seen_at
   WHERE v.seen_at <= EXCLUDED.seen_at - interval '1 minute';
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM keep('[]', p_entries);
  RETURN true;
END
$$;

REVOKE ALL ON FUNCTION card_viewed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION card_viewed TO cf_broker;
