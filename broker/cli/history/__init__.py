"""Simulated history: sixty days that a fresh demo can show, and that never happened.

The flow itself makes it, on ports that reach nothing: a shop in memory, people who vote
by the dice of a seed, a clock that is set. What it leaves behind is stored once, as the
owner of the database, with the stamp ``simulated`` in every row, in everything sealed
and in every entry; it decides nothing (infra/migrations/sql/simulated.sql).
"""
