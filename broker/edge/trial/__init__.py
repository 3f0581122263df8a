"""An edge for trying a connector out: the real rules, no credential, no database."""
