"""What takes two people: the checks, and the change that waits in between."""
