"""Strips: intervals of all candidates on one common scale, a small drawing next to each number."""

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
    """Places on one strip; ``origin`` is the place of the value that all are compared with."""

    low: float
    value: float
    high: float
    origin: float


def draw_strips(standings: Sequence[Standing]) -> list[Strip | None]:
    """Draw one strip a standing, all with a mark at the score of the reference, 1.

    None for an unknown score, and for all if one is 0 or less: it has no place on a log scale.
    """
    return draw_ratios([row.score for row in standings])


def draw_ratios(ratios: Sequence[Estimate | None]) -> list[Strip | None]:
    """Draw ratios on a log scale with a mark at 1; None if unknown, and for all if one is 0 or less."""
    known = [ratio for ratio in ratios if ratio is not None]
    if not known or min(ratio.value for ratio in known) <= 0:
        return [None] * len(ratios)
    ends = [end for ratio in known for end in (ratio.low, ratio.high) if end is not None]
    # A candidate that finds nothing scores almost 0: it goes to the left end, and the scale fits the others.
    floor = max(ratio.value for ratio in known) / 10
    points = [1.0, *(max(ratio.value, floor) for ratio in known)]
    axis = log_axis(points, ends, _MARGIN, WIDTH - _MARGIN)
    return [None if ratio is None else _place(ratio, axis, 1.0) for ratio in ratios]


def draw_differences(differences: Sequence[Estimate | None]) -> list[Strip | None]:
    """Draw differences on a linear scale with a mark at 0; None for an unknown one."""
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
