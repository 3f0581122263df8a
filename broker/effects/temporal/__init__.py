"""Temporal keeps time for approvals: what it is told, and how nothing is said to it."""
