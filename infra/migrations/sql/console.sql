-- Tickets to the console: one-time links and sessions, under the hashes of their secrets.
-- What a ticket allows stands in what the broker signed; a row without that signature
-- lets nobody in. A row can only make a ticket end early.
CREATE TABLE console_ticket (
  name       bytea       PRIMARY KEY CHECK (octet_length(name) = 32),
  kind       text        NOT NULL CHECK (kind IN ('link', 'session')),
  signed     text        NOT NULL CHECK (length(signed) <= 4096),
  expires_at timestamptz NOT NULL,
  ended_at   timestamptz
);
CREATE INDEX console_ticket_expires_at ON console_ticket (expires_at);

GRANT SELECT, INSERT, DELETE ON console_ticket TO cf_broker;
GRANT UPDATE (ended_at) ON console_ticket TO cf_broker;
