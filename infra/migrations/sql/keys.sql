-- Private halves of signing keys, each wrapped by the brokers' key provider and bound to
-- its tenant, environment and name. Which of them count stands in a signed row of
-- authority (kind key_ring): a row here adds no key, and a missing one only means that
-- nobody can sign with it.
CREATE TABLE signing_key (
  tenant      text        NOT NULL CHECK (length(tenant) BETWEEN 1 AND 64),
  environment text        NOT NULL CHECK (length(environment) BETWEEN 1 AND 64),
  kid         text        NOT NULL CHECK (length(kid) = 43),
  kek_id      text        NOT NULL CHECK (length(kek_id) <= 200),
  wrapped     bytea       NOT NULL CHECK (octet_length(wrapped) BETWEEN 1 AND 2048),
  made_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, environment, kid)
);

GRANT SELECT, INSERT, DELETE ON signing_key TO cf_broker;
