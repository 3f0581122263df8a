"""The front door: what the token endpoint and the dependencies are made of."""
