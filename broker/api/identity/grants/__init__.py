"""The grants: how a request is checked, by kind, before anything is remembered."""
