"""An estimate: what was found, and between which bounds it lies."""

from __future__ import annotations

import math

from bakeoff.measure.statistics.intervals import Interval
from bakeoff.measure.statistics.readings import NS_PER_MS, Reading
from bakeoff.record import Record

SHOWN_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class Estimate(Record):
    """A value with its interval; ``high`` is None where the samples give no upper bound."""

    value: float
    low: float
    high: float | None


def estimate_of(interval: Interval, divisor: float = 1.0) -> Estimate:
    """An interval of the instrument as an estimate.

    Args:
        interval: In any unit.
        divisor: How many of that unit make one of the estimate's: ``NS_PER_MS`` from ns to ms.
    """
    high = interval.high / divisor
    return Estimate(
        value=interval.value / divisor,
        low=interval.low / divisor,
        high=high if math.isfinite(high) else None,
    )


def summarize_calls(reading: Reading, confidence: float = 0.95) -> dict[str, Estimate | None]:
    """The shown quantiles of one reading in ms; None for what its samples do not carry."""
    intervals = reading.quantiles(list(SHOWN_QUANTILES.values()), confidence)
    return {
        name: None if interval is None else estimate_of(interval, NS_PER_MS)
        for name, interval in zip(SHOWN_QUANTILES, intervals, strict=True)
    }
