"""Cedar as policies use it: the schema that they are held to, and what they look at."""
