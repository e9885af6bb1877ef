"""Counts in words, with the noun in singular or plural: the one place that knows how."""

from __future__ import annotations


def count(number: float, singular: str, plural: str | None = None) -> str:
    """Write a number with its noun.

    Args:
        number: How many.
        singular: The noun for one.
        plural: The noun for several; None adds an ``s``.

    Examples:
        >>> count(1, "run")
        '1 run'
        >>> count(2000, "run")
        '2,000 runs'
        >>> count(0.5, "point")
        '0.5 points'
        >>> count(2, "repeat of one process", "repeats of one process")
        '2 repeats of one process'
    """
    noun = singular if number == 1 else plural or f"{singular}s"
    shown = f"{number:,g}" if isinstance(number, float) else f"{number:,}"
    return f"{shown} {noun}"
