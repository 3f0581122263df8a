"""Help people write manifests: lint them, import them, say what they ask for."""
