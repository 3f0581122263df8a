"""Policies: what a version holds, how it is approved, and what its Cedar may say."""
