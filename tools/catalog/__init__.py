"""Keep one folder per connector: its manifests and its code."""
