"""Standings: the place of each candidate, with its numbers and the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

import numpy as np

from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.constraints import ConstraintResult
from bakeoff.core.decision.costs import Costs
from bakeoff.core.decision.production import Distance
from bakeoff.core.decision.ranking import Contest, Place, Within, explain_place, find_within, place
from bakeoff.core.estimate import Estimate, summarize_calls
from bakeoff.core.records import Flag
from bakeoff.core.validity.flags import FOLD_SPREAD
from bakeoff.core.validity.noise import ComparedTime
from bakeoff.record import Record

_FEWEST_FOLDS = 2


class FoldSpread(Record):
    """Scores of the folds of a champion's trial, each trained and scored on different documents.

    Attributes:
        values: Scores of the folds.
        mean: Mean of the scores.
        deviation: Standard deviation of the scores.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float


class Standing(Record):
    """Place of one candidate, with its numbers and the reason.

    Attributes:
        quality: Metric of the decision on the evaluation split, with its interval over documents; None if it
            was not measured.
        folds: Fold scores of the trial, for information only; None with fewer than two.
        latency_ms: Latency at the quantile and batch size that count.
        score: Score that the objective compares; None if a cost is unknown. For ``weighted`` it is relative
            to the reference candidate, which has 1, or on the scale of the anchors. For ``lexicographic`` it
            and ``fastest`` it
            is the speed relative to the reference; for ``cost`` the cheapness relative to it.
        p_best: Share of the resamples in which it is the best of all that may win, undecided ones included.
        within: Whether it is within the accuracy threshold of a ``lexicographic`` objective; else None.
        p_within: Share of the resamples in which it is within the threshold; else None.
        costs: Costs other than time; None if they were not read.
        is_contended: Whether the machine was too busy while its latency was measured. Absolute figures are
            upper bounds then, and comparisons have low confidence.
        clock: Wall time or CPU time, by which it is compared with the others.
        versus_production: Distance from the version in production; None if that was not measured.
        is_on_front: Whether no other candidate is, with confidence, at least as good and as fast; None if its
            quality was not measured.
    """

    label: str
    backbone: str
    runtime: str
    champion_run_id: str
    checkpoint_digest: str
    place: Place
    reason: str
    quality: Estimate | None
    folds: FoldSpread | None = None
    latency_ms: Estimate
    latency_by_batch_ms: Mapping[int, Mapping[str, Estimate | None]]
    score: Estimate | None
    p_best: float
    within: Within | None = None
    p_within: float | None = None
    is_on_front: bool | None
    constraints: tuple[ConstraintResult, ...]
    versus_production: Distance | None = None
    costs: Costs | None = None
    is_contended: bool = False
    clock: ComparedTime = "wall time"
    flags: tuple[Flag, ...]
    benchmark_keys: tuple[str, ...]

    @property
    def is_named(self) -> bool:
        """Whether it is a named model: its id is the digest of its content."""
        return self.champion_run_id == self.checkpoint_digest


def order_of_places(contest: Contest, winner: int | None) -> list[int]:
    """Order the candidates by place, then by the objective's key, then by name."""
    order = get_args(Place)
    keys, labels = contest.ranking.key.values, contest.labels
    return sorted(
        range(len(labels)), key=lambda n: (order.index(place(contest, n, winner)), -float(keys[n]), labels[n])
    )


def stand(contest: Contest, n: int, winner: int | None) -> Standing:
    """Make the standing of one candidate.

    Args:
        contest: Contest of all candidates.
        n: Number of the candidate.
        winner: Number of the winner; None without one.
    """
    candidate = contest.evidence.candidates[n]
    quality, folds = contest.qualities[n], _spread_folds(candidate)
    within, made = find_within(contest, n), _flag_folds(contest, n, folds)
    return Standing(
        label=candidate.label,
        backbone=candidate.backbone,
        runtime=candidate.runtime,
        champion_run_id=candidate.champion_run_id,
        checkpoint_digest=candidate.checkpoint_digest,
        place=place(contest, n, winner),
        reason=explain_place(contest, n, winner),
        quality=quality,
        folds=folds,
        latency_ms=contest.evidence.latency[n],
        latency_by_batch_ms=summarize_latencies(candidate, contest.settings.confidence),
        score=contest.scores[n],
        p_best=contest.p_best[n],
        within=within[0] if within else None,
        p_within=within[1] if within else None,
        is_on_front=contest.front[n],
        constraints=contest.results[n],
        versus_production=contest.distances[n] if contest.distances else None,
        costs=candidate.costs,
        is_contended=candidate.is_contended,
        clock=contest.evidence.relative_latency.clock,
        flags=(*candidate.flags, *made),
        benchmark_keys=candidate.benchmark_keys,
    )


def _spread_folds(candidate: Candidate) -> FoldSpread | None:
    values = candidate.fold_metrics
    if len(values) < _FEWEST_FOLDS or not all(map(math.isfinite, values)):
        return None
    return FoldSpread(values=values, mean=float(np.mean(values)), deviation=float(np.std(values, ddof=1)))


def _flag_folds(contest: Contest, n: int, folds: FoldSpread | None) -> list[Flag]:
    """Flag folds that differ by more than the interval over documents, if both are of one metric.

    The two are not combined. Folds share training data, so their spread has no unbiased estimate (Bengio and
    Grandvalet, JMLR 5, 2004), and they score other models on other documents than the refit's.
    """
    candidate, quality, metric = contest.evidence.candidates[n], contest.qualities[n], contest.evidence.metric
    if folds is None or metric is None or quality is None or quality.high is None:
        return []
    if candidate.fold_metric_name in set(candidate.task.metrics) - {metric.name}:
        return []
    half = (quality.high - quality.low) / 2
    if folds.deviation <= half:
        return []
    deviation, limit = (
        f"{value:.3f}" if metric.is_bounded else f"{value:.3g}" for value in (folds.deviation, half)
    )
    detail = (
        f"{metric.label} over {len(folds.values)} folds has a standard deviation of {deviation} "
        f"(limit {limit}, half of the {contest.settings.confidence * 100:g}% interval over documents)"
    )
    return [FOLD_SPREAD.raised(detail)]


def summarize_latencies(candidate: Candidate, confidence: float) -> dict[int, dict[str, Estimate | None]]:
    """Return the shown quantiles of a candidate at every batch size."""
    return {size: summarize_calls(reading, confidence) for size, reading in sorted(candidate.latency.items())}
