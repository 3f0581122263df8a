-- What the edge keeps: sealed credentials, and the warrants that were spent.
--
-- The edge's role may add to both and read them; it can change or delete nothing but the
-- ciphertext of a credential, so an edge that was taken over cannot make a spent warrant
-- look fresh.

CREATE TABLE edge_credential (
  tenant        text        NOT NULL,
  environment   text        NOT NULL,
  connector     text        NOT NULL CHECK (connector ~ '^[a-z][a-z0-9_]{0,63}$'),
  version       integer     NOT NULL CHECK (version BETWEEN 1 AND 1000000),
  kind          text        NOT NULL CHECK (kind ~ '^[a-z][a-z_]{0,31}$'),
  base_url      text        NOT NULL CHECK (length(base_url) <= 500),
  allow_private boolean     NOT NULL,
  settings      text        NOT NULL CHECK (length(settings) <= 65536),
  kek_id        text        NOT NULL CHECK (length(kek_id) <= 100),
  wrapped_key   bytea       NOT NULL CHECK (length(wrapped_key) <= 1024),
  sealed        bytea       NOT NULL CHECK (length(sealed) <= 16384),
  created_at    timestamptz NOT NULL DEFAULT now(),
  removed_at    timestamptz,
  PRIMARY KEY (tenant, environment, connector, version)
);
COMMENT ON TABLE edge_credential IS
  'Upstream credentials, sealed under a key of their own that the edge''s key wraps. '
  'Every column but the times is bound to the ciphertext: a row that was moved or '
  'edited does not open. Of a version that was removed, the ciphertexts are gone.';

CREATE TABLE edge_credential_use (
  tenant      text        NOT NULL,
  environment text        NOT NULL,
  connector   text        NOT NULL,
  seq         integer     NOT NULL CHECK (seq BETWEEN 1 AND 1000000),
  version     integer     NOT NULL,
  proof       bytea       NOT NULL CHECK (length(proof) <= 64),
  at          timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, environment, connector, seq),
  FOREIGN KEY (tenant, environment, connector, version) REFERENCES edge_credential
);
COMMENT ON TABLE edge_credential_use IS
  'Which version of a credential is in use: the one with the highest seq. The proof is '
  'made under that version''s own key, so that whoever writes a row here without it '
  'stops the connector and switches nothing.';

CREATE TABLE edge_credential_rotated (
  tenant      text        NOT NULL,
  environment text        NOT NULL,
  connector   text        NOT NULL,
  version     integer     NOT NULL,
  seq         integer     NOT NULL CHECK (seq > 0),
  sealed      bytea       NOT NULL CHECK (length(sealed) <= 16384),
  at          timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, environment, connector, version, seq),
  FOREIGN KEY (tenant, environment, connector, version) REFERENCES edge_credential
);
COMMENT ON TABLE edge_credential_rotated IS
  'Refresh tokens that took the place of the one before, sealed under the key of their '
  'credential; the highest seq counts.';

CREATE TABLE edge_event (
  event_id uuid        PRIMARY KEY,
  token    text        NOT NULL CHECK (length(token) <= 8192),
  at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE edge_event IS
  'What an edge did with a credential, signed with its receipt key and stored together '
  'with the change. A broker verifies it and records it in the log.';

CREATE TABLE edge_event_recorded (
  event_id uuid        PRIMARY KEY REFERENCES edge_event,
  at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE edge_event_recorded IS
  'Which of them the log has, stored in the same transaction as the entry.';

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

-- Destroy the ciphertexts of one version of a credential, and store who did it. Returns
-- whether there was anything to destroy. It runs as the owner: the edge itself may change
-- or delete nothing, and this nothing else.
CREATE FUNCTION edge_credential_remove(
  p_tenant      text,
  p_environment text,
  p_connector   text,
  p_version     integer,
  p_event       uuid,
  p_token       text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  UPDATE public.edge_credential SET wrapped_key = '', sealed = '', removed_at = now()
   WHERE (tenant, environment, connector, version)
       = (p_tenant, p_environment, p_connector, p_version)
     AND removed_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM public.edge_credential_rotated
   WHERE (tenant, environment, connector, version)
       = (p_tenant, p_environment, p_connector, p_version);
  INSERT INTO public.edge_event (event_id, token) VALUES (p_event, p_token);
  RETURN true;
END
$$;

-- Note that the log has these events, one document {"event_id"} for each; false for one
-- that another replica recorded first, whose entry is then not recorded again.
CREATE FUNCTION edge_event_record(p_docs jsonb[]) RETURNS boolean[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  doc  jsonb;
  done boolean[] := '{}';
BEGIN
  FOREACH doc IN ARRAY p_docs LOOP
    INSERT INTO public.edge_event_recorded (event_id) VALUES ((doc ->> 'event_id')::uuid)
    ON CONFLICT DO NOTHING;
    done := done || FOUND;
  END LOOP;
  RETURN done;
END
$$;

-- Delete up to 5000 spent warrants that expired more than a day ago, and return how many;
-- and refresh tokens that eight others have replaced since, after a day as well. It runs
-- as the owner: the edge itself may delete nothing, and this nothing else.
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
  -- Refresh tokens that were replaced: the last ones are kept, to look into.
  DELETE FROM public.edge_credential_rotated r
  WHERE r.at < now() - interval '1 day' AND r.seq <= (
    SELECT max(n.seq) - 8 FROM public.edge_credential_rotated n
    WHERE (n.tenant, n.environment, n.connector, n.version)
        = (r.tenant, r.environment, r.connector, r.version)
  );
  RETURN deleted;
END
$$;

REVOKE ALL ON FUNCTION edge_spend(uuid, uuid, text, timestamptz, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION edge_epochs(text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION edge_purge() FROM PUBLIC;
REVOKE ALL ON FUNCTION
  edge_credential_remove(text, text, text, integer, uuid, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION edge_event_record(jsonb[]) FROM PUBLIC;
GRANT SELECT, INSERT ON edge_credential, edge_credential_use, edge_credential_rotated,
  edge_event TO cf_edge;
GRANT SELECT, INSERT ON edge_spent_warrant TO cf_edge;
GRANT EXECUTE ON FUNCTION edge_spend(uuid, uuid, text, timestamptz, text[]) TO cf_edge;
GRANT EXECUTE ON FUNCTION edge_epochs(text[]) TO cf_edge;
GRANT EXECUTE ON FUNCTION edge_purge() TO cf_edge;
GRANT EXECUTE ON FUNCTION
  edge_credential_remove(text, text, text, integer, uuid, text) TO cf_edge;
GRANT SELECT ON edge_event, edge_event_recorded TO cf_broker;
GRANT EXECUTE ON FUNCTION edge_event_record(jsonb[]) TO cf_broker;
