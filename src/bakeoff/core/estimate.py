"""An estimate: what was found, and between which bounds it lies."""

from __future__ import annotations

import math

from bakeoff.measure.statistics import Interval
from bakeoff.record import Record


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
