"""Decide: the seven stages as pure functions, values in and values out."""
