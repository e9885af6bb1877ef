"""Standings: each candidate's place, with its numbers and the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

import numpy as np

from bakeoff.core.config.settings import DecisionSettings
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
    """What the folds of a champion's trial scored, each trained and judged on other documents.

    Attributes:
        values: Of the folds.
        mean: Of the values.
        deviation: Their standard deviation.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float


class Standing(Record):
    """One candidate's place, with its numbers and the reason.

    Attributes:
        quality: F1 on the evaluation split, in [0, 1]; its interval is of the documents.
        folds: Of the trial; shown beside and counted nowhere. None with fewer than two.
        latency_ms: The quantile that counts, at the batch size that counts.
        score: What the objective compares. Of ``weighted`` relative to the reference candidate, which has 1,
            or on the scale of the anchors; of ``lexicographic`` how many times as fast as the reference; of
            ``cost`` how many times as cheap. None where a cost is unknown.
        p_best: Share of the resamples in which it is the best of all that may win, the undecided among them.
        within: Whether it is within the accuracy threshold of a ``lexicographic`` objective; else None.
        p_within: Share of the resamples in which it is; else None.
        costs: What it takes beside time; None where nothing tells.
        is_contended: Whether the machine was too busy while its latency was measured: absolute figures are
            upper bounds, and what is compared has low confidence.
        clock: By which time it is compared with the others.
        versus_production: How far it is from what is in production; None where that is not measured.
        is_on_front: Whether no other candidate is, with confidence, at least as good and as fast.
    """

    label: str
    backbone: str
    runtime: str
    champion_run_id: str
    checkpoint_digest: str
    place: Place
    reason: str
    quality: Estimate
    folds: FoldSpread | None = None
    latency_ms: Estimate
    latency_by_batch_ms: Mapping[int, Mapping[str, Estimate | None]]
    score: Estimate | None
    p_best: float
    within: Within | None = None
    p_within: float | None = None
    is_on_front: bool
    constraints: tuple[ConstraintResult, ...]
    versus_production: Distance | None = None
    costs: Costs | None = None
    is_contended: bool = False
    clock: ComparedTime = "wall time"
    flags: tuple[Flag, ...]
    benchmark_keys: tuple[str, ...]


def order_of_places(contest: Contest, winner: int | None) -> list[int]:
    """The candidates by place, then by what the objective compares, then by name."""
    order = get_args(Place)
    keys, labels = contest.ranking.key.values, contest.labels
    return sorted(
        range(len(labels)), key=lambda n: (order.index(place(contest, n, winner)), -float(keys[n]), labels[n])
    )


def stand(contest: Contest, n: int, winner: int | None) -> Standing:
    """The standing of one candidate.

    Args:
        contest: That was held.
        n: Number of the candidate.
        winner: Number of the winner; None without one.
    """
    candidate = contest.evidence.candidates[n]
    quality, folds = contest.qualities[n], _spread_folds(candidate)
    within, made = find_within(contest, n), _flag_folds(quality, folds, contest.settings)
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


def _flag_folds(quality: Estimate, folds: FoldSpread | None, settings: DecisionSettings) -> list[Flag]:
    """Say where trainings differ by more than the documents tell.

    The two are not combined: folds share training data, so that their spread has no unbiased estimate (Bengio
    and Grandvalet, JMLR 5, 2004), and they judge other models on other documents than the refit's.
    """
    if folds is None or quality.high is None:
        return []
    half = (quality.high - quality.low) / 2
    if folds.deviation <= half:
        return []
    detail = (
        f"F1 of {len(folds.values)} folds has a standard deviation of {folds.deviation:.3f}, more than the "
        f"{half:.3f} by which the {settings.confidence * 100:g}% interval over documents goes to either side"
    )
    return [FOLD_SPREAD.raised(detail)]


def summarize_latencies(candidate: Candidate, confidence: float) -> dict[int, dict[str, Estimate | None]]:
    """The shown quantiles of a candidate at every batch size."""
    return {size: summarize_calls(reading, confidence) for size, reading in sorted(candidate.latency.items())}
