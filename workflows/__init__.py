"""Keep human time: approvals, rotations and reviews that last for days."""
