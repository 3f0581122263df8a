"""Warrants on the wire: their claims, and the requests that follow from them."""
