"""Telling people: who is told, and orders for the edge, beside the flow."""
