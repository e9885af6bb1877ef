"""Validity: which flags a measurement gets, and whether it counts as done."""
