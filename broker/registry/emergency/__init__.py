"""What stops everything."""
