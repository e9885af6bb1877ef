"""The Pareto front: candidates that no other candidate certainly beats in both quality and latency."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import count_exceptions
from bakeoff.core.quality import Draws

_CHUNK = 32


class _Side(NamedTuple):
    """One quantity, of which more is better; rows are candidates.

    Attributes:
        draws: [candidates, resamples]
        may_reach: [candidates] Highest value that the candidate may reach.
        must_reach: [candidates] Value that another candidate must be able to reach to be as good.
    """

    draws: Draws
    may_reach: Draws
    must_reach: Draws


def find_front(gain: Draws, relative_latency: Draws, settings: DecisionSettings) -> list[bool]:
    """Return for each candidate whether it is on the front.

    A candidate dominates another if it is at least as good, at least as fast, and better in one of the two.
    All three must hold at once, in all resamples except as many as lie outside one end of an interval.

    Args:
        gain: [resamples, candidates], quality of which more is better.
        relative_latency: [resamples, candidates], less is better.
        settings: Confidence and resamples.
    """
    allowed = count_exceptions(settings)
    sides = (_side(gain, allowed), _side(-relative_latency, allowed))
    merit = sum(np.argsort(np.argsort(np.median(side.draws, axis=1))) for side in sides)
    # The best first: one of them mostly dominates.
    order = np.argsort(-merit, kind="stable")
    return [not _is_dominated(n, order, sides, allowed) for n in range(gain.shape[1])]


def _side(draws: Draws, allowed: int) -> _Side:
    """Find bounds that spare most comparisons.

    If A >= B in all resamples except ``allowed``, then every quantile of A is at least the quantile of B that
    ``allowed`` more draws exceed: compare sorted draws that far apart.
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
