"""The composition root: which adapter stands behind which port, and what serves."""
