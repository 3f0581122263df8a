"""What this process says records of itself, such as the sandbox that it uses."""
