"""Axes: from a value to a place on the drawing, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bakeoff.core.quality import QualityMetric

_MANY_TICKS = 8
_FEW_TICKS = 4
_LOG_STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))


class Tick(NamedTuple):
    """A round value and its place on the drawing."""

    at: float
    text: str


class Whisker(NamedTuple):
    """An interval along one axis; an end that is beyond the drawing or unknown is open."""

    start: float
    end: float
    is_open_at_start: bool
    is_open_at_end: bool


class Axis(NamedTuple):
    """A range of values along a stretch of the drawing.

    Attributes:
        low: Value at ``start``, which may be the further end of the drawing.
        high: Value at ``end``.
        is_log: Whether equal ratios, not equal differences, take equal room.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return the place of a value; one beyond the axis gets its end."""
        clipped = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(clipped / self.low) / math.log(self.high / self.low)
        else:
            share = (clipped - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def holds(self, value: float) -> bool:
        """Return whether a value lies on the axis."""
        return self.low <= value <= self.high

    def stretch(self, low: float, high: float | None) -> Whisker:
        """Place an interval; without an upper bound it is open at the end of the axis."""
        return Whisker(
            self.place(low),
            self.place(high if high is not None else self.high),
            is_open_at_start=not self.holds(low),
            is_open_at_end=high is None or not self.holds(high),
        )

    def ticks(self) -> tuple[Tick, ...]:
        """Return three to eight ticks at round values; on a linear axis all have the same decimals."""
        if self.is_log:
            return tuple(Tick(self.place(v), f"{v:,.10g}") for v in _log_values(self.low, self.high))
        values = _linear_values(self.low, self.high)
        decimals = max(len(f"{value:.10g}".partition(".")[2]) for value in values)
        return tuple(Tick(self.place(value), f"{value:.{decimals}f}") for value in values)


def log_axis(points: Sequence[float], ends: Sequence[float], start: float, end: float) -> Axis:
    """Make a log axis with room around positive points and, within reason, the ends of their intervals.

    Args:
        points: Values that must be on the axis.
        ends: Ends of intervals. Beyond three times the points the axis stops, or a single uncertain candidate
            would squeeze all others into a corner.
        start: Begin of the axis on the drawing.
        end: End of the axis on the drawing.
    """
    low, high = min(points), max(points)
    low = max(min([low, *(value for value in ends if value > 0)]), low / 3)
    high = min(max([high, *ends]), high * 3)
    margin = max((high / low) ** 0.08, 1.05)
    return Axis(low / margin, high * margin, start, end, is_log=True)


def quality_axis(values: Sequence[float], metric: QualityMetric, worse: float, better: float) -> Axis:
    """Make a linear axis within the bounds of a metric, with room around the values.

    Args:
        values: Values that must be on the axis.
        metric: Metric with its direction and bounds.
        worse: End of the axis on the drawing where the worse values are.
        better: End of the axis where the better values are.
    """
    low, high = min(values), max(values)
    least = 0.005 if metric.is_bounded else 0.005 * max(abs(low), abs(high)) or 0.5
    margin = max((high - low) * 0.1, least)
    low = low - margin if metric.low is None else max(low - margin, metric.low)
    high = high + margin if metric.high is None else min(high + margin, metric.high)
    return Axis(low, high, worse, better) if metric.more_is_better else Axis(low, high, better, worse)


def _log_values(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    for steps in _LOG_STEPS:
        values = [step * 10.0**decade for decade in decades for step in steps]
        inside = [value for value in values if low <= value <= high]
        if len(inside) >= _FEW_TICKS:
            return inside[:: math.ceil(len(inside) / _MANY_TICKS)]
    return _linear_values(low, high)


def _linear_values(low: float, high: float) -> list[float]:
    """Return three to eight multiples of the smallest step, 1, 2 or 5 × 10^n, that gives at most eight."""
    decade = math.floor(math.log10(high - low)) - 1
    for factor, power in ((factor, decade + more) for more in (0, 1) for factor in (1, 2, 5)):
        step = factor * 10.0**power
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < _MANY_TICKS:
            break
    return [round(number * step, max(0, -power)) for number in range(first, last + 1)]
