"""Comparing: find what two names mean, and compare them."""
