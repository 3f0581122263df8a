"""Make manifests out of what somebody else says about an upstream's API."""
