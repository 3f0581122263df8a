"""Say how the three embedded servers are started, and start them."""
