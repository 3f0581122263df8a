"""Test the product; the folders mirror the rooms."""
