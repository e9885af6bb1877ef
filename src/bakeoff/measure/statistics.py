"""Statistics of timings: pure functions, each with its source.

Two facts shape this file. Calls of one process are not independent, so an interval from calls alone is far
too narrow; the unit of replication is the fresh process (a *generation*). And a tail quantile needs samples:
where they are missing the answer is None, never a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_GENERATIONS = 5


class Interval(NamedTuple):
    """An estimate with its confidence interval; ``inf`` where the data give no bound."""

    value: float
    low: float
    high: float

    @property
    def half_width_ratio(self) -> float:
        """The wider side of the interval, relative to the value."""
        return max(self.high - self.value, self.value - self.low) / self.value


def order_statistic_ranks(n: int, p: float, confidence: float) -> tuple[int | None, int | None]:
    """Ranks (0-based) of the sorted sample between which the p-quantile lies with at least this confidence.

    The count of samples below the quantile is binomial(n, p), whatever the distribution; each side leaves at
    most half of the error. Source: David and Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1.

    Returns:
        The ranks; None on a side that n samples cannot bound.
    """
    from scipy.special import bdtr, bdtrc

    tail = (1 - confidence) / 2
    counts = np.arange(n)
    # Sample l lies above the quantile only if at most l samples lie below it; sample u lies below it only if
    # more than u do.
    below = int(np.searchsorted(bdtr(counts, n, p), tail, side="right")) - 1
    above = int(np.argmax(bdtrc(counts, n, p) <= tail)) if p**n <= tail else n
    return (below if below >= 0 else None, above if above < n else None)


def minimum_samples(p: float, confidence: float = 0.95) -> int:
    """The least n at which the interval of the p-quantile has both ends: 6 for p50, 368 for p99."""
    tail = (1 - confidence) / 2
    return math.ceil(math.log(tail) / math.log(max(p, 1 - p)))


def quantile_interval(
    generations: Sequence[NDArray[np.float64]], p: float, confidence: float = 0.95
) -> Interval | None:
    """The pooled p-quantile, with sectioning united with the order-statistic interval.

    Sectioning takes the spread of the quantile between generations around the pooled one, on the log scale,
    with Student's t (Asmussen and Glynn, Stochastic Simulation 2007, section III.5a). The interval is never
    narrower than the distribution-free one of the pooled sample; with a single generation it is that one.

    Args:
        generations: Positive samples of each fresh process.
        p: Between 0 and 1.
        confidence: Of the interval.

    Returns:
        None with fewer than ``minimum_samples(p)`` samples in all.
    """
    from scipy.special import stdtrit

    pooled = np.sort(np.concatenate(generations))
    if pooled.size < minimum_samples(p, confidence):
        return None
    value = float(np.quantile(pooled, p))
    below, above = order_statistic_ranks(pooled.size, p, confidence)
    low = float(pooled[below]) if below is not None else 0.0
    high = float(pooled[above]) if above is not None else math.inf
    count = len(generations)
    if count > 1:
        spread = [math.log(np.quantile(sample, p)) - math.log(value) for sample in generations]
        variance = sum(deviation**2 for deviation in spread) / (count - 1) / count
        half = float(stdtrit(count - 1, 0.5 + confidence / 2)) * math.sqrt(variance)
        low, high = min(low, value * math.exp(-half)), max(high, value * math.exp(half))
    return Interval(value, low, high)


class BlockSummary(NamedTuple):
    """The median of a block of calls and its standard error relative to it."""

    median: float
    noise: float


def summarize_block(samples: NDArray[np.float64]) -> BlockSummary:
    """Median and its relative standard error from the MAD: 1.2533 · 1.4826 · MAD / (median · sqrt(n))."""
    median = float(np.median(samples))
    mad = float(np.median(np.abs(samples - median)))
    return BlockSummary(median, 1.2533 * 1.4826 * mad / (median * math.sqrt(samples.size)))


def is_steady(blocks: Sequence[BlockSummary], *, tolerance: float = 0.02, window: int = 5) -> bool:
    """Whether the last blocks show no trend beyond the tolerance or three times their own noise.

    Compares the medians of the first three and the last three of the last five blocks.
    """
    if len(blocks) < window:
        return False
    medians = [block.median for block in blocks[-window:]]
    noise = float(np.median([block.noise for block in blocks[-window:]]))
    trend = abs(float(np.median(medians[:3])) - float(np.median(medians[-3:]))) / float(np.median(medians))
    return trend <= max(tolerance, 3 * noise / math.sqrt(3))
