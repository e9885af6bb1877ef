"""Comparisons: two candidates, or a candidate and the reference of its heat."""
