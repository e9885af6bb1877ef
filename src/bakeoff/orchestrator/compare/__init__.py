"""Comparison: find what two texts name, and compare them."""
