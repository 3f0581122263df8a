"""The sealed halves of rows: what must not stand in clear in a table."""
