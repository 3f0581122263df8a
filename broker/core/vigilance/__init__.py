"""APPROVE, watched: seeded actions that must be rejected, and who rejects them."""
