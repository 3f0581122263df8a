"""Keys that are files: read as they are now, and replaced while everything runs."""
