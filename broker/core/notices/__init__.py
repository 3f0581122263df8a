"""APPROVE, told to people: notices, who gets them, and the orders that carry them."""
