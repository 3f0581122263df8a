"""The connector helpdesk."""
