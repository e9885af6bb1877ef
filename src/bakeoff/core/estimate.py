"""Estimates: values with their intervals, and counts with their nouns."""

from __future__ import annotations

import math

from bakeoff.measure.statistics.intervals import Interval
from bakeoff.measure.statistics.readings import NS_PER_MS, Reading
from bakeoff.record import Record

SHOWN_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class Estimate(Record):
    """A value with its interval; ``high`` is None if the samples give no upper bound."""

    value: float
    low: float
    high: float | None


def estimate_of(interval: Interval, divisor: float = 1.0) -> Estimate:
    """Convert an interval of the instrument to an estimate.

    Args:
        interval: Interval in any unit.
        divisor: Number of those units in one unit of the estimate: ``NS_PER_MS`` from ns to ms.
    """
    high = interval.high / divisor
    return Estimate(
        value=interval.value / divisor,
        low=interval.low / divisor,
        high=high if math.isfinite(high) else None,
    )


def summarize_calls(reading: Reading, confidence: float = 0.95) -> dict[str, Estimate | None]:
    """Return the shown quantiles of one reading in ms; None for those with too few samples."""
    intervals = reading.quantiles(list(SHOWN_QUANTILES.values()), confidence)
    return {
        name: None if interval is None else estimate_of(interval, NS_PER_MS)
        for name, interval in zip(SHOWN_QUANTILES, intervals, strict=True)
    }
