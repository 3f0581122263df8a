"""Decide which parts a stack has and what each of them is told and allowed."""
