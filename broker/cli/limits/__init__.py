"""Limits from the command line: budgets, and standing approvals."""
