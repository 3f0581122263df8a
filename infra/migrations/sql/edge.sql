-- What the edge keeps: sealed credentials, and the warrants that were spent.
--
-- The edge's role may add to both and read them; it can change or delete nothing, so an
-- edge that was taken over cannot make a spent warrant look fresh.

CREATE TABLE edge_credential (
  tenant        text        NOT NULL,
  environment   text        NOT NULL,
  connector     text        NOT NULL CHECK (connector ~ '^[a-z][a-z0-9_]{0,63}$'),
  version       integer     NOT NULL CHECK (version BETWEEN 1 AND 1000000),
  kind          text        NOT NULL CHECK (kind IN ('bearer')),
  base_url      text        NOT NULL CHECK (length(base_url) <= 500),
  allow_private boolean     NOT NULL,
  kek_id        text        NOT NULL CHECK (length(kek_id) <= 100),
  wrapped_key   bytea       NOT NULL CHECK (length(wrapped_key) <= 1024),
  sealed        bytea       NOT NULL CHECK (length(sealed) <= 8192),
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, environment, connector, version)
);
COMMENT ON TABLE edge_credential IS
  'Upstream credentials, sealed under a key of their own that the edge''s key wraps. '
  'Every column but created_at is bound to the ciphertext: a row that was moved or '
  'edited does not open. The highest version counts.';

CREATE TABLE edge_spent_warrant (
  warrant_id uuid        PRIMARY KEY,
  action_id  uuid        NOT NULL,
  edge       text        NOT NULL CHECK (length(edge) <= 200),
  expires_at timestamptz NOT NULL,
  spent_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX edge_spent_warrant_expires_at ON edge_spent_warrant (expires_at);
COMMENT ON TABLE edge_spent_warrant IS
  'One row for each warrant that an edge accepted. Rows are kept well beyond the '
  'warrant''s life (edge_purge), after which the warrant is refused as expired.';

-- Spend a warrant and read the revocation epochs, in one round trip and transaction.
--
-- fresh is false if the warrant was spent before, here or at any other edge. epochs maps
-- each scope to its current value; a scope that was never moved has none. The epochs are
-- read after the insert and in a snapshot taken no earlier than this call, so they show
-- every revocation that was committed before it.
CREATE FUNCTION edge_spend(
  p_warrant    uuid,
  p_action     uuid,
  p_edge       text,
  p_expires_at timestamptz,
  p_scopes     text[]
) RETURNS TABLE (fresh boolean, epochs jsonb)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  INSERT INTO public.edge_spent_warrant (warrant_id, action_id, edge, expires_at)
  VALUES (p_warrant, p_action, p_edge, p_expires_at)
  ON CONFLICT (warrant_id) DO NOTHING;
  fresh := FOUND;
  epochs := public.edge_epochs(p_scopes);
  RETURN NEXT;
END
$$;

-- Return the current revocation epochs of some scopes as an object.
CREATE FUNCTION edge_epochs(p_scopes text[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_object_agg(e.scope, e.epoch), '{}'::jsonb)
    FROM public.revocation_epoch AS e
    WHERE e.scope = ANY (p_scopes)
  );
END
$$;

-- Delete up to 5000 spent warrants that expired more than a day ago; return how many.
-- It runs as the owner: the edge itself may delete nothing, and this nothing else.
CREATE FUNCTION edge_purge() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  deleted integer;
BEGIN
  DELETE FROM public.edge_spent_warrant
  WHERE warrant_id IN (
    SELECT warrant_id FROM public.edge_spent_warrant
    WHERE expires_at < now() - interval '1 day'
    LIMIT 5000
  );
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END
$$;

REVOKE ALL ON FUNCTION edge_spend(uuid, uuid, text, timestamptz, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION edge_epochs(text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION edge_purge() FROM PUBLIC;
GRANT SELECT, INSERT ON edge_credential TO cf_edge;
GRANT SELECT, INSERT ON edge_spent_warrant TO cf_edge;
GRANT EXECUTE ON FUNCTION edge_spend(uuid, uuid, text, timestamptz, text[]) TO cf_edge;
GRANT EXECUTE ON FUNCTION edge_epochs(text[]) TO cf_edge;
GRANT EXECUTE ON FUNCTION edge_purge() TO cf_edge;
