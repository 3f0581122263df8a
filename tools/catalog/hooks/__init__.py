"""Tell another system of the company about something, at one declared address."""
