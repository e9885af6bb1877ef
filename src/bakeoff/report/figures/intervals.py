"""Strips: intervals of all candidates on one common scale, a small drawing beside each number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.report.figures.axes import Axis, log_axis

if TYPE_CHECKING:
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.estimate import Estimate

WIDTH, HEIGHT = 120, 16
_MARGIN = 4


class Strip(NamedTuple):
    """Places on one strip; ``origin`` is that of the value to which all are compared."""

    low: float
    value: float
    high: float
    origin: float


def draw_strips(standings: Sequence[Standing]) -> list[Strip | None]:
    """One strip a standing; the reference's score, 1, is marked on all.

    None for a score that is unknown, and for all where one is 0 or less, which has no place on a log scale.
    """
    return draw_ratios([row.score for row in standings])


def draw_ratios(ratios: Sequence[Estimate | None]) -> list[Strip | None]:
    """Ratios on a log scale, with 1 marked; None where one is unknown, and for all where one is 0 or less."""
    known = [ratio for ratio in ratios if ratio is not None]
    if not known or min(ratio.value for ratio in known) <= 0:
        return [None] * len(ratios)
    ends = [end for ratio in known for end in (ratio.low, ratio.high) if end is not None]
    # What finds nothing scores almost 0: it lies at the left end, and the scale is for the others.
    floor = max(ratio.value for ratio in known) / 10
    points = [1.0, *(max(ratio.value, floor) for ratio in known)]
    axis = log_axis(points, ends, _MARGIN, WIDTH - _MARGIN)
    return [None if ratio is None else _place(ratio, axis, 1.0) for ratio in ratios]


def draw_differences(differences: Sequence[Estimate | None]) -> list[Strip | None]:
    """Differences on a linear scale, with 0 marked; None where one is unknown."""
    known = [one for one in differences if one is not None]
    ends = [end for one in known for end in (one.low, one.value, one.high) if end is not None]
    if not ends:
        return [None] * len(differences)
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = max((high - low) * 0.05, 1e-6)
    axis = Axis(low - margin, high + margin, _MARGIN, WIDTH - _MARGIN)
    return [None if one is None else _place(one, axis, 0.0) for one in differences]


def _place(found: Estimate, axis: Axis, origin: float) -> Strip:
    return Strip(
        axis.place(max(found.low, axis.low)),
        axis.place(found.value),
        axis.place(found.high if found.high is not None else axis.high),
        axis.place(origin),
    )
