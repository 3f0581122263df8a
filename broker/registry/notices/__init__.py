"""Who gets notices, where, as signed rows."""
