"""A small help desk with a Zendesk-like API: what tools/catalog/helpdesk speaks to."""
