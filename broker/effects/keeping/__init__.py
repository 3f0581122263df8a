"""Actions and what was shown in them: the store, its rows, and released values."""
