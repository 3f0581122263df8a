"""Speak about tools and connectors to the people who answer for them."""
