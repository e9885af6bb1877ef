"""Validity: the flags of a measurement, and whether it counts as done."""
