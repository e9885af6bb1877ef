"""Scores as strips: each interval on one common scale, a small drawing beside the number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.report.axes import Axis, log_axis

if TYPE_CHECKING:
    from bakeoff.core.estimate import Estimate
    from bakeoff.core.standings import Standing

WIDTH, HEIGHT = 120, 16


class Strip(NamedTuple):
    """Places on one strip."""

    low: float
    value: float
    high: float
    reference: float


def draw_strips(standings: Sequence[Standing]) -> list[Strip | None]:
    """One strip a standing; the reference's score, 1, is marked on all.

    None for a score that is unknown, and for all where one is 0 or less, which has no place on a log scale.
    """
    scores = [row.score for row in standings if row.score is not None]
    if not scores or min(score.value for score in scores) <= 0:
        return [None] * len(standings)
    ends = [end for score in scores for end in (score.low, score.high) if end is not None]
    # What finds nothing scores almost 0: it lies at the left end, and the scale is for the others.
    floor = max(score.value for score in scores) / 10
    axis = log_axis([1.0, *(max(score.value, floor) for score in scores)], ends, 4, WIDTH - 4)
    return [_place(row.score, axis) if row.score is not None else None for row in standings]


def _place(score: Estimate, axis: Axis) -> Strip:
    return Strip(
        axis.place(max(score.low, axis.low)),
        axis.place(score.value),
        axis.place(score.high if score.high is not None else axis.high),
        axis.place(1.0),
    )
