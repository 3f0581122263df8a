"""Keep the customers, their orders and what was done for them."""
