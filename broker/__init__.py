"""Decide, limit, approve, execute and record what AI agents ask for."""
