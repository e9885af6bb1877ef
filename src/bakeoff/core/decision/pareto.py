"""The Pareto front: who is not known to be worse than another in both quality and latency."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import Draws, count_exceptions

_CHUNK = 32


class _Side(NamedTuple):
    """One quantity, more of which is better; rows are candidates.

    Attributes:
        draws: [candidates, resamples].
        may_reach: [candidates] what it may be, if it is as good as another.
        must_reach: [candidates] what another must be able to be, to be as good.
    """

    draws: Draws
    may_reach: Draws
    must_reach: Draws


def find_front(quality: Draws, relative_latency: Draws, settings: DecisionSettings) -> list[bool]:
    """Say of each candidate whether it is on the front.

    One dominates another if with confidence it is at least as good, at least as fast, and better in one of
    the two: all three at once, in all resamples but as many as lie outside one end of an interval.

    Args:
        quality: [resamples, candidates], more is better.
        relative_latency: [resamples, candidates], less is better.
        settings: Confidence and resamples.
    """
    allowed = count_exceptions(settings)
    sides = (_side(quality, allowed), _side(-relative_latency, allowed))
    merit = sum(np.argsort(np.argsort(np.median(side.draws, axis=1))) for side in sides)
    # The best first: who is dominated is mostly dominated by one of them.
    order = np.argsort(-merit, kind="stable")
    return [not _is_dominated(n, order, sides, allowed) for n in range(quality.shape[1])]


def _side(draws: Draws, allowed: int) -> _Side:
    """Bounds that spare most comparisons.

    If A >= B in all resamples but ``allowed``, then the value of A that so many of its draws exceed is no
    less than the value of B that ``allowed`` more exceed: compare sorted draws at places so far apart.
    """
    rows = np.ascontiguousarray(draws.T)
    middle = rows.shape[1] // 2
    above = min(middle + allowed, rows.shape[1] - 1)
    ordered = np.partition(rows, (middle, above), axis=1)
    return _Side(rows, ordered[:, above], ordered[:, middle])


def _is_dominated(n: int, order: NDArray[np.intp], sides: tuple[_Side, _Side], allowed: int) -> bool:
    quality, speed = sides
    can = (quality.may_reach >= quality.must_reach[n]) & (speed.may_reach >= speed.must_reach[n])
    can[n] = False
    rivals = order[can[order]]
    for start in range(0, len(rivals), _CHUNK):
        chunk = rivals[start : start + _CHUNK]
        theirs, mine = (quality.draws[chunk], speed.draws[chunk]), (quality.draws[n], speed.draws[n])
        at_least = (theirs[0] >= mine[0]) & (theirs[1] >= mine[1])
        better = (theirs[0] > mine[0]) | (theirs[1] > mine[1])
        if (np.count_nonzero(~(at_least & better), axis=1) <= allowed).any():
            return True
    return False
