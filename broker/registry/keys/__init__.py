"""The broker's signing keys as a signed row, and how old any key may become."""
