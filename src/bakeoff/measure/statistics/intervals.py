"""Statistics of timings: pure functions, each with its source.

Two facts shape this file. Calls of one process are not independent, so an interval from calls alone is far
too narrow. The unit of replication is the fresh process (a *repeat*). And a tail quantile needs enough
samples: with too few, the result is None, never a number.

A moderated variance estimates the difference between processes, see ``moderation``. A function with a
``prior`` shrinks the variance towards it; without one, towards the instrument's own.

All intervals are made on the log scale, where a ratio and its inverse are equally far from 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.statistics.moderation import Of, Posterior, Prior, moderate

MIN_REPEATS = 5
MEDIAN = 0.5


class Interval(NamedTuple):
    """Estimate with its confidence interval; 0 or ``inf`` if the data give no bound."""

    value: float
    low: float
    high: float

    @property
    def half_width_ratio(self) -> float:
        """Width of the wider side of the interval, relative to the value."""
        return max(self.high - self.value, self.value - self.low) / self.value


@lru_cache(maxsize=256)
def order_statistic_ranks(n: int, p: float, confidence: float) -> tuple[int | None, int | None]:
    """Return the ranks of a sorted sample that enclose the p-quantile with at least this confidence.

    The number of samples below the quantile is binomial(n, p) for any distribution; each side takes at most
    half of the error. Source: David and Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1.

    Returns:
        Lower and upper rank, from 0; None on a side that n samples cannot bound.
    """
    from scipy.special import bdtr, bdtrc

    tail = _tail(confidence)
    counts = np.arange(n)
    # Sample l lies above the quantile only if at most l samples lie below it; sample u lies below it only if
    # more than u do.
    below = np.flatnonzero(bdtr(counts, n, p) <= tail)
    above = np.flatnonzero(bdtrc(counts, n, p) <= tail)
    return (int(below[-1]) if below.size else None, int(above[0]) if above.size else None)


def minimum_samples(p: float, confidence: float = 0.95) -> int:
    """Return the least n at which the interval of the p-quantile has both ends: 6 for p50, 368 for p99.

    The sample must reach past the quantile on both sides: max(p, 1 - p) ** n at most half of the error.
    """
    return math.ceil(math.log(_tail(confidence)) / math.log(max(p, 1 - p)))


def quantile_intervals(
    repeats: Sequence[NDArray[np.float64]],
    quantiles: Sequence[float],
    confidence: float = 0.95,
    priors: Sequence[Prior | None] | None = None,
) -> list[Interval | None]:
    """Estimate pooled quantiles; the interval of each unites sectioning and order statistics.

    Sectioning takes the spread of the quantile between repeats around the pooled one, on the log scale
    (Asmussen and Glynn, Stochastic Simulation 2007, section III.5a), here with a moderated variance. The
    interval is never narrower than the distribution-free one of the pooled sample. With a single repeat, that
    one is the interval, and holds for this process only.

    Args:
        repeats: Positive samples [calls] of each fresh process, in any unit.
        quantiles: Quantiles, between 0 and 1.
        confidence: Confidence of each interval.
        priors: Prior of the variance between processes for each quantile.

    Returns:
        An interval for each quantile in the unit of the samples; None with fewer than ``minimum_samples(p)``
        samples in all.
    """
    ordered = [np.sort(sample) for sample in repeats]
    pooled = np.sort(np.concatenate(ordered))
    return [
        _quantile_interval(ordered, pooled, p, confidence, prior)
        for p, prior in zip(quantiles, priors or [None] * len(quantiles), strict=True)
    ]


def _quantile_interval(
    repeats: Sequence[NDArray[np.float64]],
    pooled: NDArray[np.float64],
    p: float,
    confidence: float,
    prior: Prior | None,
) -> Interval | None:
    if pooled.size < minimum_samples(p, confidence):
        return None
    value = quantile_of_sorted(pooled, p)
    below, above = order_statistic_ranks(pooled.size, p, confidence)
    low = float(pooled[below]) if below is not None else 0.0
    high = float(pooled[above]) if above is not None else math.inf
    if len(repeats) > 1:
        by_repeat = np.array([quantile_of_sorted(sample, p) for sample in repeats])
        sectioned = interval_around(math.log(value), np.log(by_repeat), confidence, "time", prior)
        low, high = min(low, sectioned.low), max(high, sectioned.high)
    return Interval(value, low, high)


def quantile_of_sorted(ordered: NDArray[np.float64], p: float) -> float:
    """Return the p-quantile of a sorted sample, bit for bit as ``numpy.quantile``, in a tenth of its time.

    It is linear between the two nearest samples, starting from the nearer one.
    """
    place = p * (ordered.size - 1)
    below = math.floor(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, ordered.size - 1)])
    share = place - below
    step = high - low
    return low + step * share if share < MEDIAN else high - step * (1 - share)


def order_statistic_interval(
    values: NDArray[np.float64], p: float, confidence: float = 0.95
) -> Interval | None:
    """Find the distribution-free interval of the p-quantile; None with too few values for one."""
    below, above = order_statistic_ranks(values.size, p, confidence)
    if below is None or above is None:
        return None
    ordered = np.sort(values)
    return Interval(quantile_of_sorted(ordered, p), float(ordered[below]), float(ordered[above]))


def widen(interval: Interval, factor: float) -> Interval:
    """Move both ends of an interval further away, by a factor on the log scale."""
    value, low, high = interval
    return Interval(
        value,
        value * (low / value) ** factor if low > 0 else 0.0,
        value * (high / value) ** factor if math.isfinite(high) else math.inf,
    )


def unite(interval: Interval, other: Interval | None) -> Interval:
    """Widen an interval so that it also covers another one."""
    if other is None:
        return interval
    return Interval(interval.value, min(interval.low, other.low), max(interval.high, other.high))


def throughput_interval(
    block_rates_by_repeat: Sequence[NDArray[np.float64]],
    confidence: float = 0.95,
    prior: Prior | None = None,
) -> Interval:
    """Estimate documents per second: the median over rounds, then over processes.

    It takes the median over the blocks of a repeat, then the mean over the repeats with a moderated variance.

    Args:
        block_rates_by_repeat: Positive rates [blocks] in documents per second, one array per repeat.
        confidence: Confidence of the interval.
        prior: Prior of the variance of a log time between processes.

    Returns:
        Interval in documents per second; with one repeat it is (0, inf).
    """
    if not block_rates_by_repeat:
        raise ValueError("an interval needs at least one repeat")
    logs = np.array([float(np.median(np.log(rates))) for rates in block_rates_by_repeat])
    return interval_around(float(np.mean(logs)), logs, confidence, "time", prior)


def rate_interval(rates: Sequence[float], confidence: float = 0.95) -> Interval:
    """Estimate a rate as the median of the repeats' rates, on the log scale.

    The spread is taken around the logarithm of the median, so a delayed repeat widens the interval and does
    not move the value. Only the instrument's own prior moderates it: these processes run one after the other,
    and belong to no heat.

    Args:
        rates: Positive rates, one per repeat.
        confidence: Confidence of the interval.

    Returns:
        Interval in the unit of the rates; with one repeat it is (0, inf).
    """
    if not rates:
        raise ValueError("an interval needs at least one repeat")
    logs = np.log(np.asarray(rates))
    return interval_around(math.log(float(np.median(rates))), logs, confidence, "time", None)


def _tail(confidence: float) -> float:
    return (1 - confidence) / 2


def interval_of(posterior: Posterior, confidence: float) -> Interval:
    """Return the central interval of a posterior, taken off the log scale."""
    half = posterior.half_width(confidence)
    return Interval(
        math.exp(posterior.center), math.exp(posterior.center - half), math.exp(posterior.center + half)
    )


def interval_around(
    center: float, logs: NDArray[np.float64], confidence: float, of: Of, prior: Prior | None
) -> Interval:
    """Return exp(center ± half-width of the posterior of the mean); open with a single value."""
    if logs.size == 1:
        return Interval(math.exp(center), 0.0, math.inf)
    return interval_of(moderate(logs, of, prior, center), confidence)
