"""Measuring: worker processes, their orders and their answers."""
