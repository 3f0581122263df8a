"""Offer the counterfoil command."""
