"""Confine a process with Landlock, seccomp, limits and, where possible, namespaces."""
