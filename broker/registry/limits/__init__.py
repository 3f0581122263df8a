"""Limits that people set beside the policy."""
