"""Benching: from a plan to measurements in the tracking store."""
