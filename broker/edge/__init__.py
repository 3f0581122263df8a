"""Hold the upstream credentials and let nothing out without a warrant."""
