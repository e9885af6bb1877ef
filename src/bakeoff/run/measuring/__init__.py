"""Measuring: worker processes, the orders that they get, what they answer."""
