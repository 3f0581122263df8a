"""Changes that widen authority: asked for by one person, made true by another."""
