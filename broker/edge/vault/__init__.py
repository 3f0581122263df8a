"""Upstream credentials: sealed at rest, opened for the moment of a request."""
