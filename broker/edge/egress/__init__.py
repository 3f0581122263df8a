"""Let a child's requests out: decode, check against the decision, send anew."""
