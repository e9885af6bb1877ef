"""The decision: accuracy against latency, with the uncertainty of both.

The score of a candidate is a weighted geometric mean of two ratios to the reference candidate,

    score = (quality / quality_ref) ** w  ·  (latency_ref / latency) ** (1 - w),

so that adding a candidate, or taking another reference, changes no one's place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from bakeoff.core.evidence import (
    Candidate,
    Draws,
    Estimate,
    draw_latency,
    draw_quality,
    estimate_from,
    find_latency,
    require_latency,
    summarize_latencies,
)
from bakeoff.core.records import Environment
from bakeoff.core.settings import Constraint, DecisionSettings, QualityFloor
from bakeoff.errors import CannotTellError
from bakeoff.measure.scenarios.quality import f1_of
from bakeoff.record import Record

Met = Literal["met", "failed", "cannot tell"]
Place = Literal["winner", "tied", "beaten", "excluded"]


class ConstraintResult(Record):
    """Whether one candidate meets one constraint, with the words that say so."""

    result: Met
    text: str


class Standing(Record):
    """One candidate's place, with its numbers and the reason.

    Attributes:
        quality: F1 on the evaluation split, in [0, 1].
        latency_ms: The quantile that counts, at the batch size that counts.
        score: Relative to the reference candidate, which has 1.
        p_best: Share of the resamples in which it has the best score of all that may win.
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
    latency_ms: Estimate
    latency_by_batch_ms: Mapping[int, Mapping[str, Estimate | None]]
    score: Estimate
    p_best: float
    is_on_front: bool
    constraints: tuple[ConstraintResult, ...]
    flags: tuple[str, ...]
    benchmark_keys: tuple[str, ...]


class Decision(Record):
    """Standings, winner or tie, reasons."""

    format_version: Literal[1] = 1
    outcome: Literal["winner", "tie", "none"]
    winner: str | None
    reasons: tuple[str, ...]
    reference: str
    standings: tuple[Standing, ...]
    settings: DecisionSettings
    environment: Environment
    incomplete: tuple[str, ...] = ()

    @property
    def winning_standing(self) -> Standing | None:
        """The winner's standing, or None."""
        return next((standing for standing in self.standings if standing.place == "winner"), None)


def decide(
    candidates: Sequence[Candidate], settings: DecisionSettings, incomplete: Sequence[str] = ()
) -> Decision:
    """Rank the candidates; equal inputs give an equal decision, byte for byte.

    Args:
        candidates: The first one is the reference of the score.
        settings: Weights, constraints, confidence.
        incomplete: Candidates that cannot be ranked, to be told in the reasons.

    Raises:
        CannotTellError: There is nothing to compare, or the measurements are of unlike environments or
            documents, or the quantile asked for has too few samples.
    """
    _refuse_unlike(candidates, settings)
    ordered = sorted(candidates, key=lambda candidate: (candidate.label, candidate.champion_run_id))
    column = {candidate.label: number for number, candidate in enumerate(ordered)}
    reference = candidates[0].label
    latency = [
        require_latency(c, settings.batch_size, settings.quantile, settings.confidence) for c in ordered
    ]
    quality_draws = draw_quality(ordered, settings)
    latency_draws = draw_latency(latency, settings)
    quality_points = np.array([f1_of(c.entities) for c in ordered])
    latency_points = np.array([estimate.value for estimate in latency])
    score_points = _log_score(quality_points, latency_points, column[reference], settings)
    score_draws = _log_score(quality_draws, latency_draws, column[reference], settings)
    results = [
        tuple(_check(c, limit, quality_draws[:, n], settings) for limit in settings.constraints)
        for n, c in enumerate(ordered)
    ]
    able = [n for n in range(len(ordered)) if all(result.result == "met" for result in results[n])]
    front = _front(quality_draws, latency_draws, settings.confidence)
    p_best = _p_best(score_draws, able)
    leader = max(able, key=lambda n: score_points[n]) if able else None
    tied = _tied(leader, able, score_draws, settings.confidence)
    winner, outcome, reasons = _judge(ordered, leader, tied, latency_points, p_best, settings)
    standings = [
        Standing(
            label=c.label,
            backbone=c.backbone,
            runtime=c.runtime,
            champion_run_id=c.champion_run_id,
            checkpoint_digest=c.checkpoint_digest,
            place=_place(n, able, winner, leader, tied),
            reason=_reason(
                n, ordered, results[n], able, winner, leader, tied, score_draws, settings.confidence
            ),
            quality=estimate_from(quality_points[n], quality_draws[:, n], settings.confidence),
            latency_ms=latency[n],
            latency_by_batch_ms=summarize_latencies(c, settings.confidence),
            score=estimate_from(
                float(np.exp(score_points[n])), np.exp(score_draws[:, n]), settings.confidence
            ),
            p_best=p_best[n],
            is_on_front=front[n],
            constraints=results[n],
            flags=c.flags,
            benchmark_keys=c.benchmark_keys,
        )
        for n, c in enumerate(ordered)
    ]
    rank: dict[Place, int] = {"winner": 0, "tied": 1, "beaten": 2, "excluded": 3}
    return Decision(
        outcome=outcome,
        winner=ordered[winner].label if winner is not None else None,
        reasons=(*reasons, *incomplete),
        reference=reference,
        standings=tuple(sorted(standings, key=lambda s: (rank[s.place], -s.score.value, s.label))),
        settings=settings,
        environment=candidates[0].environment,
        incomplete=tuple(incomplete),
    )


def _refuse_unlike(candidates: Sequence[Candidate], settings: DecisionSettings) -> None:
    if not candidates:
        raise CannotTellError(
            "no candidate has both a quality and a latency measurement; run `bakeoff bench`"
        )
    if len({candidate.label for candidate in candidates}) < len(candidates):
        raise CannotTellError("two candidates have the same name; decide between one champion a backbone")
    if len({candidate.quality_inputs_digest for candidate in candidates}) > 1:
        raise CannotTellError("the candidates were judged on different documents; run `bakeoff bench`")
    environments = {candidate.environment.digest: candidate.environment for candidate in candidates}
    if len(environments) > 1 and not settings.allow_unlike_environments:
        shown = "; ".join(
            f"{environment.hardware.label}, {dict(environment.libraries)}"
            for environment in environments.values()
        )
        raise CannotTellError(
            f"measurements of unlike environments are not ranked ({shown}); measure all in one environment "
            "with run.mode force_new, or set decision.allow_unlike_environments"
        )


def _log_score(quality: Draws, latency: Draws, reference: int, settings: DecisionSettings) -> Draws:
    weights = settings.weights
    share = weights.quality / (weights.quality + weights.latency)
    # A model that finds nothing has F1 0, and log 0 would spoil every mean: it scores as almost nothing.
    floored = np.maximum(quality, 1e-9)
    score: Draws = share * np.log(floored / floored[..., [reference]]) + (1 - share) * np.log(
        latency[..., [reference]] / latency
    )
    return score


def _check(
    candidate: Candidate, limit: Constraint, quality_draws: Draws, settings: DecisionSettings
) -> ConstraintResult:
    if isinstance(limit, QualityFloor):
        estimate = estimate_from(f1_of(candidate.entities), quality_draws, settings.confidence)
        text = f"F1 {estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}] ≥ {limit.at_least:g}"
        if estimate.low >= limit.at_least:
            return ConstraintResult(result="met", text=text)
        below = estimate.high is not None and estimate.high < limit.at_least
        return ConstraintResult(result="failed" if below else "cannot tell", text=text)
    name = f"p{limit.quantile * 100:g} at batch size {limit.batch_size}"
    found = find_latency(candidate, limit.batch_size, limit.quantile, settings.confidence)
    if found is None:
        return ConstraintResult(result="cannot tell", text=f"{name}: not measured, or too few samples")
    upper = f"{found.high:.2f}" if found.high is not None else "∞"
    text = f"{name} {found.value:.2f} ms [{found.low:.2f}, {upper}] ≤ {limit.at_most_ms:g} ms"
    if found.high is not None and found.high <= limit.at_most_ms:
        return ConstraintResult(result="met", text=text)
    return ConstraintResult(result="failed" if found.low > limit.at_most_ms else "cannot tell", text=text)


def _front(quality: Draws, latency: Draws, confidence: float) -> list[bool]:
    """Who is not dominated: nobody else is, with confidence, at least as good, as fast, and better in one."""
    count = quality.shape[1]

    def dominates(a: int, b: int) -> bool:
        as_good = float(np.mean(quality[:, a] >= quality[:, b])) >= confidence
        as_fast = float(np.mean(latency[:, a] <= latency[:, b])) >= confidence
        better = (quality[:, a] > quality[:, b]) | (latency[:, a] < latency[:, b])
        return as_good and as_fast and float(np.mean(better)) >= confidence

    return [not any(dominates(a, b) for a in range(count) if a != b) for b in range(count)]


def _p_best(score_draws: Draws, able: Sequence[int]) -> list[float]:
    shares = [0.0] * score_draws.shape[1]
    if able:
        best = np.asarray(able)[score_draws[:, list(able)].argmax(axis=1)]
        for n in able:
            shares[n] = float(np.mean(best == n))
    return shares


def _tied(leader: int | None, able: Sequence[int], score_draws: Draws, confidence: float) -> list[int]:
    """Those whose score the leader does not beat with confidence."""
    if leader is None:
        return []
    return [
        n
        for n in able
        if n != leader and float(np.mean(score_draws[:, leader] > score_draws[:, n])) < confidence
    ]


def _judge(
    candidates: Sequence[Candidate],
    leader: int | None,
    tied: Sequence[int],
    latency: Draws,
    p_best: Sequence[float],
    settings: DecisionSettings,
) -> tuple[int | None, Literal["winner", "tie", "none"], tuple[str, ...]]:
    if leader is None:
        return None, "none", ("no candidate is known to meet every constraint",)
    if not tied:
        reason = f"{candidates[leader].label} has the best score (best in {p_best[leader]:.1%} of resamples)"
        return leader, "winner", (reason,)
    names = ", ".join(sorted(candidates[n].label for n in (leader, *tied)))
    if settings.when_tied == "report":
        cure = "more test documents or more generations would tell them apart, or set decision.when_tied"
        return None, "tie", (f"the data do not tell these apart: {names}", cure)
    fastest = min((leader, *tied), key=lambda n: (latency[n], candidates[n].label))
    return (
        fastest,
        "winner",
        (
            f"the data do not tell these apart: {names}",
            f"{candidates[fastest].label} is the fastest of them, and decision.when_tied is fastest",
        ),
    )


def _place(n: int, able: Sequence[int], winner: int | None, leader: int | None, tied: Sequence[int]) -> Place:
    if n == winner:
        return "winner"
    if n not in able:
        return "excluded"
    return "tied" if n == leader or n in tied else "beaten"


def _reason(
    n: int,
    candidates: Sequence[Candidate],
    results: Sequence[ConstraintResult],
    able: Sequence[int],
    winner: int | None,
    leader: int | None,
    tied: Sequence[int],
    score_draws: Draws,
    confidence: float,
) -> str:
    if n not in able:
        return "; ".join(f"{result.result}: {result.text}" for result in results if result.result != "met")
    if n == winner:
        return "best score" if not tied else "fastest of the tied"
    if leader is None or n == leader:
        return "best score, but not with confidence"
    low, high = np.quantile(
        score_draws[:, leader] - score_draws[:, n], [0.5 - confidence / 2, 0.5 + confidence / 2]
    )
    span = f"{math.expm1(low):+.1%} to {math.expm1(high):+.1%}"
    verb = "not told apart from" if n in tied else "beaten by"
    return f"{verb} {candidates[leader].label} (score ahead by {span})"
