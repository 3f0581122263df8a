"""What a person is shown, what they sign, and what keeps the time meanwhile."""
