"""Ratios: how many times as long one side takes as the other, from the rounds that both ran."""

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
    """The log ratio of a candidate's time to the reference's, by process.

    Attributes:
        center: Of all processes.
        by_process: Of each process, by its number.
        rounds: Of all rounds together; empty for tails, which no round has.
    """

    center: float
    by_process: Mapping[int, float]
    rounds: NDArray[np.float64]


def pair_rounds(
    pairs: Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> LogRatios:
    """Take the log ratios of blocks that were run in the same rounds.

    A round is too short for the machine to drift, so drift falls out of the log ratio within it; the median
    over the rounds of a process sheds disturbed rounds.

    Args:
        pairs: By the number of the process: positive block medians [rounds] of the candidate and of the
            reference, of the same rounds, in the same unit.

    Raises:
        ValueError: There is nothing to pair, or the rounds of a process do not pair.
    """
    if not pairs:
        raise ValueError("a ratio needs at least one process that both ran")
    for number, (mine, theirs) in pairs.items():
        # numpy would stretch a single round over all of the other's.
        if mine.shape != theirs.shape:
            raise ValueError(f"process {number} has {mine.size} rounds, and {theirs.size} of the reference")
    rounds = {number: np.log(mine) - np.log(theirs) for number, (mine, theirs) in pairs.items()}
    medians = {number: quantile_of_sorted(np.sort(row), MEDIAN) for number, row in rounds.items()}
    return LogRatios(float(np.mean(list(medians.values()))), medians, np.concatenate(list(rounds.values())))


def pair_quantiles(
    pairs: Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]], p: float
) -> LogRatios | None:
    """Take the log ratio of the p-quantile of each process, around that of all processes together.

    A tail has no rounds: its intervals are 5 to 10 times as wide as those of ``pair_rounds``.

    Args:
        pairs: By the number of the process: positive samples [calls] of the candidate and of the reference;
            they need not be as many.
        p: Between 0 and 1.

    Returns:
        None where either side has fewer than ``minimum_samples(p)`` samples in all.

    Raises:
        ValueError: There is nothing to pair.
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
    """Estimate how many times the reference's time a candidate takes.

    The processes, which differ by memory layout and the like, give the interval, with a moderated variance.
    Source: the paired t of Law, Simulation Modeling and Analysis, 5th ed. 2015, section 10.2.1, with the
    process as the unit of replication (Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM
    2013); of tails, sectioning (Asmussen and Glynn, Stochastic Simulation 2007, section III.5a). The interval
    is never narrower than the distribution-free one of the median of all rounds.

    Args:
        found: The log ratios.
        confidence: Of the interval.
        prior: Of the variance between processes of a log ratio.
        of: Wall time or CPU time.
        factor: By which the spread between processes counts for more, where several intervals shall hold
            together.

    Returns:
        Candidate over reference: above 1 is slower. With one process the interval is (0, inf).
    """
    logs = np.array(list(found.by_process.values()))
    interval = widen(interval_around(found.center, logs, confidence, of, prior), factor)
    return unite(interval, order_statistic_interval(np.exp(found.rounds), MEDIAN, confidence))


def judge_ratio(interval: Interval, zone: float = 0.02) -> Verdict:
    """What an interval of candidate over reference time allows to say.

    A difference that is certain is told, however small; ``equivalent`` needs the whole interval within the
    zone (the two one-sided tests of Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987, by intervals).

    Args:
        interval: Of the ratio; 1 is the same speed.
        zone: Half width of what counts as the same speed: from 1 / (1 + zone) to 1 + zone.
    """
    if interval.low > 1:
        return "slower"
    if interval.high < 1:
        return "faster"
    if 1 / (1 + zone) < interval.low and interval.high < 1 + zone:
        return "equivalent"
    return "inconclusive"


def adjusted_confidence(confidence: float, n_comparisons: int) -> float:
    """The confidence of each of several intervals, so that all hold together with at least ``confidence``.

    Bonferroni: the error is shared out evenly. That is the first step of Holm's procedure (Scand. J. Stat. 6,
    1979) taken for all, since an interval that is shown cannot depend on the order of the others. Without a
    comparison, or with one, nothing changes.
    """
    return 1 - (1 - confidence) / max(n_comparisons, 1)


def _log_quantile_ratio(mine: NDArray[np.float64], theirs: NDArray[np.float64], p: float) -> float:
    return math.log(quantile_of_sorted(np.sort(mine), p)) - math.log(quantile_of_sorted(np.sort(theirs), p))
