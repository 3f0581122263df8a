"""Find out what this machine allows and has free."""
