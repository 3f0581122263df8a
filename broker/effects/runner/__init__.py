"""How the broker reaches the runner."""
