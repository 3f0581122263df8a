"""Name the things that the seven stages speak about."""
