"""Speak: translate between the wire and the flow, and decide nothing."""
