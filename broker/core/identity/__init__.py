"""Stage 1 in parts: read foreign tokens, assertions, proofs and access tokens."""
