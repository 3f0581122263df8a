"""What takes two people, and what nobody needs any more."""
