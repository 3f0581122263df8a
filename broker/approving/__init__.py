"""APPROVE, seen from people: who is asked, what they see, how votes are counted."""
