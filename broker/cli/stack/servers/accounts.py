"""Name the accounts of the database, and the variables that say how they are made."""

ADMIN = "cf_admin"
"""Makes the others; no process of the stack uses it otherwise."""
OWNER = "counterfoil"
"""Owns the database and runs the migrations; no superuser."""
BROKER = "cf_broker"
EDGE = "cf_edge"
SEQUENCER = "cf_sequencer"
"""Writes the log; nobody logs in as it, the owner makes functions in its name."""
DATABASE = "counterfoil"

ADMIN_URL_VARIABLE = "COUNTERFOIL_ADMIN_DATABASE_URL"
ADMIN_PASSWORD_VARIABLE = "COUNTERFOIL_ADMIN_DATABASE_PASSWORD_FILE"  # noqa: S105 a name
FILES_VARIABLE = "COUNTERFOIL_ROLE_PASSWORD_FILES"
