"""Who watches the watchers: the switch of canaries, and suspended rights."""
