"""Trials of a study group as a strip: a dot each by its score, with the pick and its folds."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.report.figures.axes import Axis, Tick, Whisker

if TYPE_CHECKING:
    from bakeoff.core.records import PickedTrial

WIDTH = 520
_MARGIN = 14
_TOP, _HIGHEST = 8.0, 48.0  # dots stack below the first, at most so far
_STEP = 6.5
_FOLDS_BELOW, _TICKS_BELOW = 10.0, 40.0
_MOST_TICKS = 6


class TrialStrip(NamedTuple):
    """Places on the drawing.

    Attributes:
        dots: Place of every other trial that is shown.
        picked: Place of the trial that was picked.
        folds: Places of the folds of that trial, from left to right.
        spread: Line from the lowest to the highest fold; None without folds.
        base: Height of the axis.
        height: Height of the drawing, which grows with the highest stack.
    """

    dots: tuple[tuple[float, float], ...]
    picked: tuple[float, float]
    folds: tuple[float, ...]
    spread: Whisker | None
    folds_at: float
    ticks: tuple[Tick, ...]
    base: float
    height: float


def draw_trials(picked: PickedTrial) -> TrialStrip | None:
    """Draw the trials of a group; equal scores stack. None if they are too far apart for an axis.

    Args:
        picked: The picked trial, with the scores of its group.
    """
    everything = [*picked.scores, *picked.folds, picked.metric]
    low, high = min(everything), max(everything)
    margin = max((high - low) * 0.03, abs(high) * 1e-4, 1e-9)
    if not math.isfinite(high - low + 2 * margin):
        return None
    axis = Axis(low - margin, high + margin, _MARGIN, WIDTH - _MARGIN)
    others = list(picked.scores)
    if picked.metric in others:
        others.remove(picked.metric)
    # The pick is the first of its column, on the axis, where no dot can hide it.
    columns = [round(axis.place(score) / _STEP) for score in (picked.metric, *others)]
    n_more = max(Counter(columns).values()) - 1
    step = min(_STEP, _HIGHEST / max(n_more, 1))
    lowest = round(_TOP + n_more * step, 1)
    seen = Counter[int]()
    heights = []
    for column in columns:
        heights.append(round(lowest - seen[column] * step, 1))
        seen[column] += 1
    folds = tuple(sorted(axis.place(fold) for fold in picked.folds))
    return TrialStrip(
        dots=tuple((axis.place(score), y) for score, y in zip(others, heights[1:], strict=True)),
        picked=(axis.place(picked.metric), heights[0]),
        folds=folds,
        spread=axis.stretch(min(picked.folds), max(picked.folds)) if folds else None,
        folds_at=round(lowest + _FOLDS_BELOW, 1),
        ticks=_list_ticks(axis),
        base=round(lowest + 4, 1),
        height=round(lowest + _TICKS_BELOW, 1),
    )


def _list_ticks(axis: Axis) -> tuple[Tick, ...]:
    """List round values with at most four significant digits, so that their texts have room."""
    ticks = axis.ticks()
    ticks = ticks[:: math.ceil(len(ticks) / _MOST_TICKS)]
    return tuple(
        tick if len(tick.text) <= 8 else tick._replace(text=f"{float(tick.text):.3g}") for tick in ticks
    )
