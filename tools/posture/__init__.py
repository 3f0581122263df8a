"""How connector code is confined on this host, and the proof that it is."""
