"""Describe what must be approved before it is used, as pure slices."""
