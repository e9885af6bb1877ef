"""Whether timings hold still: warm-up, drift, and processes that differ. Pure functions, sources named.

Each looks at medians of blocks, which a few stalled calls do not move.
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
# A level from fewer blocks is no level.
SHIFT_MIN_BLOCKS = 5
NOISE_BATCHES = 10
# A core-to-core latency wanders by a tenth; between caches that are far apart it more than doubles.
FAR_FACTOR = 1.6
# The near level is where the fastest tenth ends: a few that are too fast by chance do not set it.
NEAR_QUANTILE = 0.1


class BlockSummary(NamedTuple):
    """The median of a block of calls and its standard error relative to it."""

    median: float
    noise: float


class Drift(NamedTuple):
    """How the speed of the machine changed during a session.

    Attributes:
        kind: ``trend`` for a steady change, ``shift`` for one between two levels.
        change: From begin to end, relative to the median: 0.08 is 8 % slower at the end.
        p: Kendall's, of no monotone change.
    """

    kind: Literal["trend", "shift"]
    change: float
    p: float


def find_far(latencies_ns: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the core-to-core latencies so far above the quickest that the CPUs must have been further apart.

    Args:
        latencies_ns: [rounds], in any unit; may be empty.
    """
    if not latencies_ns.size:
        return np.zeros(0, dtype=bool)
    far: NDArray[np.bool_] = latencies_ns > FAR_FACTOR * np.quantile(latencies_ns, NEAR_QUANTILE)
    return far


def summarize_block(samples: NDArray[np.float64]) -> BlockSummary:
    """Median and its relative standard error from the MAD: 1.2533 · 1.4826 · MAD / (median · sqrt(n))."""
    median = float(np.median(samples))
    return BlockSummary(
        median, MEDIAN_ERROR * _robust_sd(samples - median) / (median * math.sqrt(samples.size))
    )


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


def mser_truncation(block_medians: NDArray[np.float64]) -> int:
    """How many blocks at the begin still belong to the warm-up, by the marginal standard error rule.

    The d that makes the standard error of the mean of the rest least: argmin of var(m[d:]) / (B - d) over
    d <= B / 2. Source: White, An Effective Truncation Heuristic for Bias Reduction in Simulation Output,
    Simulation 69, 1997.

    Args:
        block_medians: [blocks] in the order of taking.

    Returns:
        Blocks to leave out; the fewest of equally good ones. Of few blocks it is not sure: without any
        warm-up it leaves out more than a fifth in 24 of 100 series of 10 blocks, in 3 of 100 series of 50.
    """
    count = block_medians.size
    errors = [float(np.var(block_medians[d:])) / (count - d) for d in range(count // 2 + 1) if d < count]
    return int(np.argmin(errors)) if errors else 0


def find_drift(block_medians: NDArray[np.float64]) -> Drift | None:
    """The drift of one candidate's blocks over a session, or None where there is no sure sign of any.

    A trend: Kendall's tau against time has p < 0.01, and the slope of Theil and Sen (J. Am. Stat. Assoc. 63,
    1968) sums up to more than 2 %. A shift: at the best split the medians of the two sides differ by more
    than 3 % and by more than 5 standard errors, taken from the MAD around them. Where both hold, the one that
    leaves the smaller absolute residuals is told.

    What differs between processes looks like drift too where blocks of several processes are joined.

    Args:
        block_medians: Positive [blocks], in the order of taking; with fewer than 10 nothing is found.
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
    # A series without any change has no tau: its p is NaN, and no trend.
    is_trend = p < DRIFT_P and abs(trend) > TREND_CHANGE
    is_shift = abs(shift) > SHIFT_CHANGE and shift_errors > SHIFT_ERRORS
    if is_shift and (not is_trend or shift_rest < trend_rest):
        return Drift("shift", shift, p)
    return Drift("trend", trend, p) if is_trend else None


def spread_excess(repeat_samples: Sequence[NDArray[np.float64]]) -> float:
    """How many times more the processes differ in their median than the noise inside them explains.

    Between: the standard deviation of the log medians of the repeats. Inside: each repeat is cut into
    10 consecutive batches, whose log medians give the standard error of its own median. Batches, not calls,
    since neighbouring calls are not independent (batch means: Law, Simulation Modeling and Analysis, 5th ed.
    2015, section 9.5.3); a batch must be longer than a disturbance lasts. Near 1 when the process makes no
    difference.

    Args:
        repeat_samples: Positive samples [calls] of each fresh process, in the order of taking.

    Returns:
        0 where there is nothing to compare: fewer than two repeats, or one with a single sample.
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
    """Total change along the line of Theil and Sen, and the mean absolute residual around it."""
    count = series.size
    earlier, later = np.triu_indices(count, k=1)
    slope = float(np.median((series[later] - series[earlier]) / (later - earlier)))
    detrended = series - slope * np.arange(count)
    rest = float(np.mean(np.abs(detrended - np.median(detrended))))
    return slope * (count - 1), rest


def _best_split(series: NDArray[np.float64]) -> tuple[float, float, float]:
    """At the split with the smallest absolute residuals: shift, shift in standard errors, mean residual."""
    count = series.size
    fits = []
    for split in range(SHIFT_MIN_BLOCKS, count - SHIFT_MIN_BLOCKS + 1):
        before, after = np.median(series[:split]), np.median(series[split:])
        residuals = np.concatenate([series[:split] - before, series[split:] - after])
        fits.append((float(np.mean(np.abs(residuals))), split, float(after - before), residuals))
    rest, split, shift, residuals = min(fits, key=lambda fit: fit[0])
    error = MEDIAN_ERROR * _robust_sd(residuals) * math.sqrt(1 / split + 1 / (count - split))
    return shift, abs(shift) / error if error > 0 else math.inf, rest
