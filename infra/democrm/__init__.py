"""Serve a small HTTP CRM: the reference upstream for development and tests."""
