"""Objectives: the order of the candidates, as found and again in every resample.

Each objective gives every candidate a key, of which more is better. The keys as found name the leader; the
keys of the resamples show how often it leads. Keys are comparable within one resample only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bakeoff.core.config.decision_rules import Anchors, Cost, Fastest, Lexicographic, Weighted
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import RelativeLatency, draw_log_normal
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.estimate import Estimate
from bakeoff.core.quality import Draws
from bakeoff.errors import CannotTellError
from bakeoff.measure.tasks.metrics import Metric

# Ratios take values from this share of the metric's scale on: of a model that finds nothing, log 0 would make
# every mean infinite. It scores almost nothing instead.
LEAST_SHARE = 1e-9
_OUTSIDE = 1e4  # above any log of a ratio of two numbers: outsiders come last
_ROUNDING = 1e-12  # 0.850 - 0.845 is a little more than 0.005
_COST_STREAM = 1


class Quantity(NamedTuple):
    """One quantity of all candidates.

    Attributes:
        values: [candidates], as found.
        draws: [resamples, candidates]
    """

    values: Draws
    draws: Draws


@dataclass(frozen=True)
class Evidence:
    """Evidence about all candidates, one column each.

    Attributes:
        candidates: Candidates in the order of the columns.
        metric: Metric of quality; None if the task has none.
        reference: Number of the candidate that ratios are relative to.
        latency: Latency of each in ms, as found.
        quality: That metric of each, in its own units; NaN if it was not measured.
        relative_latency: Latencies on a common scale; less is better.
    """

    candidates: tuple[Candidate, ...]
    metric: Metric | None
    reference: int
    latency: tuple[Estimate, ...]
    quality: Quantity
    relative_latency: RelativeLatency

    @cached_property
    def gain(self) -> Quantity:
        """Quality on a scale of which more is better."""
        return Quantity(*map(self.known_metric.gain, self.quality))

    @property
    def known_metric(self) -> Metric:
        """Metric of quality, for objectives that need quality: without one, settings refuse them."""
        if self.metric is None:
            raise TypeError("the task has no metric of quality")
        return self.metric

    @property
    def judged(self) -> tuple[int, ...]:
        """Numbers of the candidates whose quality was measured."""
        return tuple(n for n, value in enumerate(self.quality.values) if math.isfinite(value))


@dataclass(frozen=True)
class Ranking:
    """Order of the candidates by an objective.

    Attributes:
        key: Key that orders the candidates; more is better.
        score: Score that is shown: the reference has 1, or 0 and 1 are at the anchors; NaN if unknown.
        sides: Unweighted quality and latency parts of a weighted key.
        within: Whether each is within the accuracy threshold of a lexicographic objective.
        unknown: Reasons why candidates have no key and cannot win, by number.
        measured: Candidates without a key that were measured, and might win with better measurements.
    """

    key: Quantity
    score: Quantity
    sides: tuple[Quantity, Quantity] | None = None
    within: Quantity | None = None
    unknown: Mapping[int, str] = field(default_factory=dict)
    measured: frozenset[int] = frozenset()

    def find_leader(self, able: Sequence[int]) -> int | None:
        """Find the best, as found, of the candidates that may win; the first of exact twins."""
        return max(able, key=lambda n: float(self.key.values[n])) if able else None

    def shares_of_best(self, able: Sequence[int]) -> list[float]:
        """Return the share of resamples in which each is the best of those that may win; twins share."""
        shares = [0.0] * len(self.key.values)
        if able:
            keys = self.key.draws[:, list(able)]
            is_best = keys == keys.max(axis=1, keepdims=True)
            for n, share in zip(
                able, (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0), strict=True
            ):
                shares[n] = float(share)
        return shares

    def count_not_ahead(self, leader: int) -> list[int]:
        """Count for each candidate the resamples in which the leader is not ahead of it."""
        ahead = self.key.draws[:, [leader]] > self.key.draws
        return [int(count) for count in np.count_nonzero(~ahead, axis=0)]


def rank(evidence: Evidence, able: Sequence[int], settings: DecisionSettings) -> Ranking:
    """Order the candidates by the objective of the settings.

    Args:
        evidence: Evidence about all candidates.
        able: Candidates that certainly meet every constraint; the most accurate of them sets the threshold.
        settings: Settings of the decision.

    Raises:
        CannotTellError: The score takes ratios of the metric, and it is not above 0.
    """
    match settings.objective:
        case Weighted() as objective:
            return _rank_by_score(evidence, objective)
        case Lexicographic() as objective:
            return _rank_by_threshold(evidence, able, objective)
        case Cost() as objective:
            return _rank_by_cost(evidence, objective, settings)
        case Fastest():
            speed = _find_speed(evidence)
            at = [evidence.reference]
            return Ranking(speed, Quantity(*(np.exp(side - side[..., at]) for side in speed)))


def _rank_by_score(evidence: Evidence, objective: Weighted) -> Ranking:
    share = objective.weights.quality_share
    if objective.anchors is None:
        if share > 0:
            _require_ratios(evidence)
        sides = _relative_sides(evidence)
        key = _mix(*sides, share)
        return Ranking(key, Quantity(np.exp(key.values), np.exp(key.draws)), sides=sides)
    sides = _anchored_sides(evidence, objective.anchors)
    key = _mix(*sides, share)
    return Ranking(key, key, sides=sides)


def _mix(quality: Quantity, latency: Quantity, share: float) -> Quantity:
    return Quantity(
        share * quality.values + (1 - share) * latency.values,
        share * quality.draws + (1 - share) * latency.draws,
    )


def _relative_sides(evidence: Evidence) -> tuple[Quantity, Quantity]:
    """Return logarithms of two ratios: quality to the reference's, and the reference's latency to its own.

    Of a metric to minimize, the first one is the reference's to its own, too.
    """
    at = [evidence.reference]
    least = LEAST_SHARE * _find_scale(evidence)
    quality = (evidence.known_metric.gain(np.log(np.maximum(side, least))) for side in evidence.quality)
    latency = _find_speed(evidence)
    return (
        Quantity(*(side - side[..., at] for side in quality)),
        Quantity(*(side - side[..., at] for side in latency)),
    )


def _find_speed(evidence: Evidence) -> Quantity:
    """Return minus the logarithm of each relative latency."""
    return Quantity(
        *(-np.log(side) for side in (evidence.relative_latency.values, evidence.relative_latency.draws))
    )


def _find_scale(evidence: Evidence) -> float:
    """Return the greatest value of the metric; without a bound, the greatest of the candidates."""
    metric = evidence.known_metric
    if math.isfinite(metric.high):
        return metric.high
    return float(evidence.quality.values.max()) or 1.0


def _require_ratios(evidence: Evidence) -> None:
    """Refuse ratios of a metric that can be negative, if a candidate does not have more than 0.

    A resample with 0 or less counts as almost 0: a candidate that close to 0 gets a wide interval.
    """
    metric = evidence.known_metric
    if metric.low >= 0:
        return
    for candidate, value in zip(evidence.candidates, evidence.quality.values, strict=True):
        if value <= 0:
            raise CannotTellError(
                f"{candidate.label}: {metric.label} is {value:.3g}, and a score without anchors needs values "
                "above 0; set decision.objective.anchors, or the objective lexicographic"
            )


def _anchored_sides(evidence: Evidence, anchors: Anchors) -> tuple[Quantity, Quantity]:
    """Scale quality and log latency so that the anchors are 0 and 1, with the same slope beyond them.

    On the log scale a slower machine moves all candidates alike. So ratios to a common reference can replace
    absolute latencies: only their level is that of the reference as found.
    """
    quality, latency = anchors.quality, anchors.latency_ms
    relative_latency, at = evidence.relative_latency, evidence.reference
    level_ms = evidence.latency[at].value / relative_latency.values[at]
    width = np.log(latency.zero / latency.one)
    return (
        Quantity(*((side - quality.zero) / (quality.one - quality.zero) for side in evidence.quality)),
        Quantity(
            *(
                np.log(latency.zero / (side * level_ms)) / width
                for side in (relative_latency.values, relative_latency.draws)
            )
        ),
    )


def _rank_by_threshold(evidence: Evidence, able: Sequence[int], objective: Lexicographic) -> Ranking:
    speed = _find_speed(evidence)
    within = Quantity(*(is_within(side, able, objective) for side in evidence.gain))
    at = [evidence.reference]
    return Ranking(
        key=Quantity(
            *(
                np.where(near > 0, fast, good - good.max(axis=-1, keepdims=True) - _OUTSIDE)
                for near, fast, good in zip(within, speed, evidence.gain, strict=True)
            )
        ),
        score=Quantity(*(np.exp(side - side[..., at]) for side in speed)),
        within=within,
    )


def find_tolerance(best: Draws, objective: Lexicographic) -> Draws:
    """Return how far below the best gain a candidate may be; a relative threshold is a share of the best."""
    threshold = objective.accuracy_threshold
    scale = np.abs(best) if objective.threshold_scale == "relative" else np.ones_like(best)
    tolerance: Draws = threshold * scale
    return tolerance


def is_within(gain: Draws, able: Sequence[int], objective: Lexicographic) -> Draws:
    """Return 1 for a gain within the threshold of the most accurate able candidate, in the same resample.

    Without able candidates, all count: the result is only shown then.
    """
    best = gain[..., list(able) or slice(None)].max(axis=-1, keepdims=True)
    room = find_tolerance(best, objective) + _ROUNDING * np.maximum(np.abs(best), 1.0)
    within: Draws = (gain >= best - room).astype(np.float64)
    return within


def _rank_by_cost(evidence: Evidence, objective: Cost, settings: DecisionSettings) -> Ranking:
    """Rank by least cost; a candidate without a cost, or with an open interval, cannot win."""
    found = [_find_cost(candidate, objective) for candidate in evidence.candidates]
    unknown = {n: cost for n, cost in enumerate(found) if isinstance(cost, str)}
    measured = frozenset(n for n in unknown if _read_cost(evidence.candidates[n], objective) is not None)
    intervals = [
        (1.0, 1.0, 1.0) if isinstance(cost, str) else (cost.value, cost.low, cost.high or np.inf)
        for cost in found
    ]
    names = [candidate.label for candidate in evidence.candidates]
    values = np.array([value for value, _, _ in intervals])
    key = Quantity(-np.log(values), -np.log(draw_log_normal(names, intervals, settings, _COST_STREAM)))
    for side in key:
        side[..., list(unknown)] = np.nan
    at = [evidence.reference]
    score = Quantity(*(np.exp(side - side[..., at]) for side in key))
    keys = Quantity(*(np.nan_to_num(side, nan=-np.inf) for side in key))
    return Ranking(keys, score, unknown=unknown, measured=measured)


def _name_cost(objective: Cost) -> str:
    return "cost_per_million" if objective.per == "documents" else "cost_per_million_served"


def _read_cost(candidate: Candidate, objective: Cost) -> Estimate | None:
    found: Estimate | None = getattr(candidate.costs, _name_cost(objective)) if candidate.costs else None
    return found


def _find_cost(candidate: Candidate, objective: Cost) -> Estimate | str:
    """Find the money per million, or the reason why it is not known."""
    costs, found = candidate.costs, _read_cost(candidate, objective)
    if found is None:
        return f"cost: {costs.absent.get(_name_cost(objective), 'not measured') if costs else 'not measured'}"
    if costs is not None and costs.is_contended:
        return "cost: only an upper bound, since the machine was busy"
    if found.high is None or not 0 < found.low <= found.value <= found.high < np.inf:
        return "cost: too few samples for an interval"
    return found
