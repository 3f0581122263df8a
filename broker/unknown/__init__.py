"""Outcomes that nobody knows: the edge is asked again, and people resolve them."""
