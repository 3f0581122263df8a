"""A thin client: what an agent, a channel or a person runs to speak to the broker.

It shares keys and canonical JSON with the broker, and nothing else: it builds its
assertions and proofs itself, so that a mistake in the broker's reading of them is not
made twice.
"""
