"""Start, probe and supervise the parts of the embedded stack."""
