"""Ratios of a candidate's time to the reference's, from the rounds that both ran."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.statistics.intervals import (
    MEDIAN,
    Interval,
    interval_around,
    minimum_samples,
    order_statistic_interval,
    quantile_of_sorted,
    unite,
    widen,
)
from bakeoff.measure.statistics.moderation import Of, Prior

Verdict = Literal["faster", "slower", "equivalent", "inconclusive"]


class LogRatios(NamedTuple):
    """Log ratios of a candidate's time to the reference's.

    Attributes:
        center: Log ratio over all processes.
        by_process: Log ratio of each process, by its number.
        rounds: Log ratios of all rounds together; empty for tails, which a single round does not have.
    """

    center: float
    by_process: Mapping[int, float]
    rounds: NDArray[np.float64]


def pair_rounds(
    pairs: Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> LogRatios:
    """Take the log ratios of blocks from the same rounds.

    A round is too short for the machine to drift, so drift cancels in its log ratio. The median over the
    rounds of a process suppresses disturbed rounds.

    Args:
        pairs: Positive block medians [rounds] of the candidate and of the reference, from the same rounds and
            in the same unit, by the number of the process.

    Raises:
        ValueError: There is nothing to pair, or a process has different numbers of rounds.
    """
    if not pairs:
        raise ValueError("a ratio needs at least one process that both ran")
    for number, (mine, theirs) in pairs.items():
        # numpy would repeat a single round for all of the other's.
        if mine.shape != theirs.shape:
            raise ValueError(
                f"process {number}: rounds of the candidate {mine.size}, of the reference {theirs.size}"
            )
    rounds = {number: np.log(mine) - np.log(theirs) for number, (mine, theirs) in pairs.items()}
    medians = {number: quantile_of_sorted(np.sort(row), MEDIAN) for number, row in rounds.items()}
    return LogRatios(float(np.mean(list(medians.values()))), medians, np.concatenate(list(rounds.values())))


def pair_quantiles(
    pairs: Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]], p: float
) -> LogRatios | None:
    """Take the log ratio of the p-quantile of each process, around that of all processes together.

    A tail cannot be paired by round: its intervals are 5 to 10 times as wide as those of ``pair_rounds``.

    Args:
        pairs: Positive samples [calls] of the candidate and of the reference, by the number of the process;
            the numbers of samples may differ.
        p: Quantile, between 0 and 1.

    Returns:
        Log ratios; None if either side has fewer than ``minimum_samples(p)`` samples in all.
    """
    if not pairs:
        raise ValueError("a ratio needs at least one process that both ran")
    pooled = [np.concatenate(side) for side in zip(*pairs.values(), strict=True)]
    if min(side.size for side in pooled) < minimum_samples(p):
        return None
    by_process = {number: _log_quantile_ratio(mine, theirs, p) for number, (mine, theirs) in pairs.items()}
    return LogRatios(_log_quantile_ratio(pooled[0], pooled[1], p), by_process, np.zeros(0))


def ratio_interval(
    found: LogRatios,
    confidence: float = 0.95,
    prior: Prior | None = None,
    of: Of = "ratio",
    *,
    factor: float = 1.0,
) -> Interval:
    """Estimate the ratio of a candidate's time to the reference's.

    Processes, which differ by memory layout and the like, give the interval, with a moderated variance.
    Source: the paired t of Law, Simulation Modeling and Analysis, 5th ed. 2015, section 10.2.1, with the
    process as the unit of replication (Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM
    2013). For tails: sectioning (Asmussen and Glynn, Stochastic Simulation 2007, section III.5a). The
    interval is never narrower than the distribution-free one of the median of all rounds.

    Args:
        found: Log ratios of the processes.
        confidence: Confidence of the interval.
        prior: Prior of the variance of a log ratio between processes.
        of: Kind of ratio, of wall time or of CPU time.
        factor: Factor on the spread between processes, for several intervals that must hold together.

    Returns:
        Candidate over reference: above 1 is slower. With one process the interval is (0, inf).
    """
    logs = np.array(list(found.by_process.values()))
    interval = widen(interval_around(found.center, logs, confidence, of, prior), factor)
    return unite(interval, order_statistic_interval(np.exp(found.rounds), MEDIAN, confidence))


def judge_ratio(interval: Interval, zone: float = 0.02) -> Verdict:
    """Return the verdict that an interval of the ratio of candidate to reference time allows.

    A certain difference is reported, however small. ``equivalent`` needs the whole interval within the zone
    (the two one-sided tests of Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987, by intervals).

    Args:
        interval: Interval of the ratio; 1 is the same speed.
        zone: Half-width of the zone of equal speed, from 1 / (1 + zone) to 1 + zone.
    """
    if interval.low > 1:
        return "slower"
    if interval.high < 1:
        return "faster"
    if 1 / (1 + zone) < interval.low and interval.high < 1 + zone:
        return "equivalent"
    return "inconclusive"


def adjusted_confidence(confidence: float, n_comparisons: int) -> float:
    """Return the confidence of each of several intervals that hold together with at least ``confidence``.

    Bonferroni: each interval takes an equal part of the error. That is the first step of Holm's procedure
        (Scand.
    J. Stat. 6, 1979), taken for all, since a shown interval cannot depend on the order of the others. With no
    or one comparison, nothing changes.
    """
    return 1 - (1 - confidence) / max(n_comparisons, 1)


def _log_quantile_ratio(mine: NDArray[np.float64], theirs: NDArray[np.float64], p: float) -> float:
    return math.log(quantile_of_sorted(np.sort(mine), p)) - math.log(quantile_of_sorted(np.sort(theirs), p))
