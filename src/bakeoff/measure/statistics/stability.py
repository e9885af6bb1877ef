"""Stability of timings: warm-up, drift, and processes that differ. Pure functions, with their sources.

All use medians of blocks, which a few stalled calls do not move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

# The standard error of a median of normal samples over that of their mean: sqrt(pi / 2).
MEDIAN_ERROR = 1.2533
# The standard deviation of normal samples over their median absolute deviation.
MAD_TO_SD = 1.4826

DRIFT_P = 0.01
TREND_CHANGE = 0.02
SHIFT_CHANGE = 0.03
SHIFT_ERRORS = 5.0
# Fewer blocks do not make a level.
SHIFT_MIN_BLOCKS = 5
NOISE_BATCHES = 10
# A core-to-core latency varies by a tenth; between distant caches it more than doubles.
FAR_FACTOR = 1.6
# The near level is the end of the fastest tenth, so that a few lucky readings do not set it.
NEAR_QUANTILE = 0.1


class BlockSummary(NamedTuple):
    """Median of a block of calls, and its relative standard error."""

    median: float
    noise: float


class Drift(NamedTuple):
    """Change of the machine's speed during a session.

    Attributes:
        kind: ``trend`` for a steady change, ``shift`` for one between two levels.
        change: Change from start to end, relative to the median: 0.08 is 8 % slower at the end.
        p: Kendall's p-value for no monotone change.
    """

    kind: Literal["trend", "shift"]
    change: float
    p: float


def find_far(latencies_ns: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the core-to-core latencies so far above the quickest that the CPUs must have been further apart.

    Args:
        latencies_ns: Latencies [rounds], in any unit; may be empty.
    """
    if not latencies_ns.size:
        return np.zeros(0, dtype=bool)
    far: NDArray[np.bool_] = latencies_ns > FAR_FACTOR * np.quantile(latencies_ns, NEAR_QUANTILE)
    return far


def summarize_block(samples: NDArray[np.float64]) -> BlockSummary:
    """Return the median and its relative standard error: 1.2533 · 1.4826 · MAD / (median · sqrt(n))."""
    median = float(np.median(samples))
    return BlockSummary(
        median, MEDIAN_ERROR * _robust_sd(samples - median) / (median * math.sqrt(samples.size))
    )


def is_steady(blocks: Sequence[BlockSummary], *, tolerance: float = 0.02, window: int = 5) -> bool:
    """Return whether the last blocks show no trend beyond the tolerance or three times their own noise.

    It compares the medians of the first three and the last three of the last five blocks.
    """
    if len(blocks) < window:
        return False
    medians = [block.median for block in blocks[-window:]]
    noise = float(np.median([block.noise for block in blocks[-window:]]))
    trend = abs(float(np.median(medians[:3])) - float(np.median(medians[-3:]))) / float(np.median(medians))
    return trend <= max(tolerance, 3 * noise / math.sqrt(3))


def mser_truncation(block_medians: NDArray[np.float64]) -> int:
    """Return how many first blocks still belong to the warm-up, by the marginal standard error rule.

    It is the d with the least standard error of the mean of the rest: argmin of var(m[d:]) / (B - d) over
    d <= B / 2. Source: White, An Effective Truncation Heuristic for Bias Reduction in Simulation Output,
    Simulation 69, 1997.

    Args:
        block_medians: Medians [blocks], in the order of measurement.

    Returns:
        Number of blocks to exclude, the fewest of equally good ones. It is unreliable for few blocks: without
        any warm-up it exceeds a fifth in 24 of 100 series of 10 blocks, and in 3 of 100 series of 50.
    """
    count = block_medians.size
    errors = [float(np.var(block_medians[d:])) / (count - d) for d in range(count // 2 + 1) if d < count]
    return int(np.argmin(errors)) if errors else 0


def find_drift(block_medians: NDArray[np.float64]) -> Drift | None:
    """Find the drift of one candidate's blocks over a session; None without a sure sign of any.

    A trend: Kendall's tau against time has p < 0.01, and the slope of Theil and Sen (J. Am. Stat. Assoc. 63,
    1968) sums up to more than 2 %. A shift: at the best split the medians of the two sides differ by more
    than 3 % and by more than 5 standard errors, taken from the MAD around them. If both hold, the result is
    the one with the smaller absolute residuals.

    If blocks of several processes are joined, differences between processes look like drift too.

    Args:
        block_medians: Positive medians [blocks], in the order of measurement; with fewer than 10, none is
            found.
    """
    if block_medians.size < 2 * SHIFT_MIN_BLOCKS:
        return None
    from scipy.stats import kendalltau

    time = np.arange(block_medians.size, dtype=np.float64)
    p = float(kendalltau(time, block_medians).pvalue)
    scale = float(np.median(block_medians))
    relative = block_medians / scale
    trend, trend_rest = _theil_sen(relative)
    shift, shift_errors, shift_rest = _best_split(relative)
    # A series without any change has no tau: its p is NaN, so there is no trend.
    is_trend = p < DRIFT_P and abs(trend) > TREND_CHANGE
    is_shift = abs(shift) > SHIFT_CHANGE and shift_errors > SHIFT_ERRORS
    if is_shift and (not is_trend or shift_rest < trend_rest):
        return Drift("shift", shift, p)
    return Drift("trend", trend, p) if is_trend else None


def spread_excess(repeat_samples: Sequence[NDArray[np.float64]]) -> float:
    """Return the ratio of the spread of medians between processes to the one that noise inside them explains.

    Between: the standard deviation of the log medians of the repeats. Inside: each repeat is cut into 10
    consecutive batches, and their log medians give the standard error of its own median. It takes batches,
    not calls, since neighbouring calls are not independent (batch means: Law, Simulation Modeling and
    Analysis, 5th ed. 2015, section 9.5.3). A batch must be longer than a disturbance lasts.

    Args:
        repeat_samples: Positive samples [calls] of each fresh process, in the order of measurement.

    Returns:
        Ratio, near 1 if the process makes no difference; 0 with fewer than two repeats, or with a single
        sample in one.
    """
    if len(repeat_samples) < 2 or min(sample.size for sample in repeat_samples) < 2:  # noqa: PLR2004
        return 0.0
    between = float(np.std([math.log(np.median(sample)) for sample in repeat_samples], ddof=1))
    inside = math.sqrt(float(np.mean([_median_error(sample) ** 2 for sample in repeat_samples])))
    if inside == 0:
        return math.inf if between > 0 else 0.0
    return between / inside


def _robust_sd(residuals: NDArray[np.float64]) -> float:
    return MAD_TO_SD * float(np.median(np.abs(residuals)))


def _median_error(sample: NDArray[np.float64]) -> float:
    batches = np.array_split(sample, min(NOISE_BATCHES, sample.size))
    return float(np.std([math.log(np.median(batch)) for batch in batches], ddof=1)) / math.sqrt(len(batches))


def _theil_sen(series: NDArray[np.float64]) -> tuple[float, float]:
    """Return the total change along the line of Theil and Sen, and its mean absolute residual."""
    count = series.size
    earlier, later = np.triu_indices(count, k=1)
    slope = float(np.median((series[later] - series[earlier]) / (later - earlier)))
    detrended = series - slope * np.arange(count)
    rest = float(np.mean(np.abs(detrended - np.median(detrended))))
    return slope * (count - 1), rest


def _best_split(series: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return shift, shift in standard errors and mean residual at the split with the least residuals."""
    count = series.size
    fits = []
    for split in range(SHIFT_MIN_BLOCKS, count - SHIFT_MIN_BLOCKS + 1):
        before, after = np.median(series[:split]), np.median(series[split:])
        residuals = np.concatenate([series[:split] - before, series[split:] - after])
        fits.append((float(np.mean(np.abs(residuals))), split, float(after - before), residuals))
    rest, split, shift, residuals = min(fits, key=lambda fit: fit[0])
    error = MEDIAN_ERROR * _robust_sd(residuals) * math.sqrt(1 / split + 1 / (count - split))
    return shift, abs(shift) / error if error > 0 else math.inf, rest
