"""Do: one adapter per port of the flow."""
