"""Decisions looked at: what a policy would say, and what would change it."""
