"""What limits are made of: scopes, windows and rates."""
