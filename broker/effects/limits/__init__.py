"""Rates and budgets: the counters in Valkey, and the reservations in PostgreSQL."""
