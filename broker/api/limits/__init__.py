"""Budgets, limits and standing approvals over HTTP, for people."""
