"""Start one process under a rule: in namespaces, confined, and bound to its parent.

Imports nothing outside the standard library: it runs before the environment's packages
are on the path.
"""
