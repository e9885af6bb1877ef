"""The decision: accuracy against latency, with the uncertainty of both.

The score of a candidate is a weighted geometric mean of two ratios to the reference candidate,

    score = (quality / quality_ref) ** w  ·  (latency_ref / latency) ** (1 - w),

so that adding a candidate, or taking another reference, changes no one's place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bakeoff.core.constraints import ConstraintResult, check_constraint
from bakeoff.core.costs import Costs
from bakeoff.core.estimate import Estimate
from bakeoff.core.evidence import (
    Candidate,
    Draws,
    draw_pace,
    draw_quality,
    estimate_from,
    require_latency,
    summarize_latencies,
)
from bakeoff.core.records import Environment, Measurement
from bakeoff.core.settings import DecisionSettings
from bakeoff.digest import digest_json
from bakeoff.errors import CannotTellError
from bakeoff.measure.scenarios.quality import f1_of
from bakeoff.record import Record

Place = Literal["winner", "tied", "beaten", "excluded"]


class Standing(Record):
    """One candidate's place, with its numbers and the reason.

    Attributes:
        quality: F1 on the evaluation split, in [0, 1].
        latency_ms: The quantile that counts, at the batch size that counts.
        score: Relative to the reference candidate, which has 1.
        p_best: Share of the resamples in which it has the best score of all that may win.
        costs: What it takes beside time; None where nothing tells.
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
    costs: Costs | None = None
    flags: tuple[str, ...]
    benchmark_keys: tuple[str, ...]


class Decision(Record):
    """Standings, winner or tie, reasons.

    Attributes:
        inputs_digest: Of all that it was made from; empty where that was not noted.
    """

    format_version: Literal[1] = 1
    inputs_digest: str = ""
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
    contest = _hold(candidates, settings)
    winner, outcome, reasons = _judge(contest)
    standings = [_stand(contest, n, winner) for n in range(len(contest.candidates))]
    rank: dict[Place, int] = {"winner": 0, "tied": 1, "beaten": 2, "excluded": 3}
    return Decision(
        outcome=outcome,
        winner=contest.candidates[winner].label if winner is not None else None,
        reasons=(*reasons, *_low_confidence(contest), *incomplete),
        reference=candidates[0].label,
        standings=tuple(sorted(standings, key=lambda s: (rank[s.place], -s.score.value, s.label))),
        settings=settings,
        environment=candidates[0].environment,
        incomplete=tuple(incomplete),
    )


def digest_inputs(measurements: Sequence[Measurement], settings: DecisionSettings) -> str:
    """Digest of what a decision is made from; decisions of equal inputs are equal.

    Args:
        measurements: In the order of their jobs, which names the reference.
        settings: Of the decision; its run mode does not count.
    """
    return digest_json(
        {
            "format_version": Decision.model_fields["format_version"].default,
            "settings": settings.model_dump(mode="json", exclude={"run"}),
            "measurements": [[each.job.key, each.attempt, each.measured_at] for each in measurements],
        }
    )


@dataclass(frozen=True)
class _Contest:
    """All that is computed before anyone is placed; arrays have one column a candidate.

    Attributes:
        candidates: In an order that does not depend on how they were given.
        able: Who is known to meet every constraint.
        leader: The best score of the able; None without any.
        tied: Of the able, whom the leader does not beat with confidence.
    """

    candidates: tuple[Candidate, ...]
    settings: DecisionSettings
    quality: Draws
    latency: tuple[Estimate, ...]
    log_scores: Draws
    score_draws: Draws
    quality_draws: Draws
    front: tuple[bool, ...]
    results: tuple[tuple[ConstraintResult, ...], ...]
    able: tuple[int, ...]
    p_best: tuple[float, ...]
    leader: int | None
    tied: tuple[int, ...]


def _hold(candidates: Sequence[Candidate], settings: DecisionSettings) -> _Contest:
    ordered = tuple(sorted(candidates, key=lambda c: (c.label, c.champion_run_id)))
    reference = [c.label for c in ordered].index(candidates[0].label)
    latency = tuple(
        require_latency(c, settings.batch_size, settings.quantile, settings.confidence) for c in ordered
    )
    quality = np.array([f1_of(c.entities) for c in ordered])
    quality_draws, pace = draw_quality(ordered, settings), draw_pace(ordered, latency, settings)
    log_scores = _log_score(quality, pace.values, reference, settings)
    score_draws = _log_score(quality_draws, pace.draws, reference, settings)
    results = tuple(
        tuple(check_constraint(c, limit, quality_draws[:, n], settings) for limit in settings.constraints)
        for n, c in enumerate(ordered)
    )
    able = tuple(n for n, row in enumerate(results) if all(result.result == "met" for result in row))
    leader = max(able, key=lambda n: log_scores[n]) if able else None
    return _Contest(
        candidates=ordered,
        settings=settings,
        quality=quality,
        latency=latency,
        log_scores=log_scores,
        score_draws=score_draws,
        quality_draws=quality_draws,
        front=tuple(_front(quality_draws, pace.draws, settings.confidence)),
        results=results,
        able=able,
        p_best=tuple(_p_best(score_draws, able)),
        leader=leader,
        tied=tuple(_tied(leader, able, score_draws, settings.confidence)),
    )


def _stand(contest: _Contest, n: int, winner: int | None) -> Standing:
    candidate, confidence = contest.candidates[n], contest.settings.confidence
    score, score_draws = float(np.exp(contest.log_scores[n])), np.exp(contest.score_draws[:, n])
    return Standing(
        label=candidate.label,
        backbone=candidate.backbone,
        runtime=candidate.runtime,
        champion_run_id=candidate.champion_run_id,
        checkpoint_digest=candidate.checkpoint_digest,
        place=_place(contest, n, winner),
        reason=_reason(contest, n, winner),
        quality=estimate_from(float(contest.quality[n]), contest.quality_draws[:, n], confidence),
        latency_ms=contest.latency[n],
        latency_by_batch_ms=summarize_latencies(candidate, confidence),
        score=estimate_from(score, score_draws, confidence),
        p_best=contest.p_best[n],
        is_on_front=contest.front[n],
        constraints=contest.results[n],
        costs=candidate.costs,
        flags=candidate.flags,
        benchmark_keys=candidate.benchmark_keys,
    )


def _low_confidence(contest: _Contest) -> tuple[str, ...]:
    contended = [candidate.label for candidate in contest.candidates if candidate.is_contended]
    if not contended:
        return ()
    line = (
        f"low confidence: the machine was busy while {len(contended)} of {len(contest.candidates)} "
        "candidates were measured, so only their ratios count; measure again when it is quiet"
    )
    return (line,)


def _refuse_unlike(candidates: Sequence[Candidate], settings: DecisionSettings) -> None:
    if not candidates:
        raise CannotTellError(
            "no candidate has both a quality and a latency measurement; run `bakeoff bench`"
        )
    if len({candidate.label for candidate in candidates}) < len(candidates):
        raise CannotTellError("two candidates have the same name; decide between one champion a backbone")
    if len({candidate.quality_inputs_digest for candidate in candidates}) > 1:
        raise CannotTellError("the candidates were judged on different documents; run `bakeoff bench`")
    if len({candidate.latency_inputs_digest for candidate in candidates}) > 1:
        raise CannotTellError("the candidates were timed on different texts; run `bakeoff bench`")
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
    contest: _Contest,
) -> tuple[int | None, Literal["winner", "tie", "none"], tuple[str, ...]]:
    leader, candidates = contest.leader, contest.candidates
    if leader is None:
        return None, "none", ("no candidate is known to meet every constraint",)
    name = candidates[leader].label
    if not contest.tied:
        reason = f"{name} has the best score (best in {contest.p_best[leader]:.1%} of resamples)"
        return leader, "winner", (reason,)
    level = (leader, *contest.tied)
    names = ", ".join(sorted(candidates[n].label for n in level))
    tie = f"the data do not tell these apart: {names}"
    if contest.settings.when_tied == "report":
        cure = "more test documents or more generations would tell them apart, or set decision.when_tied"
        return None, "tie", (tie, cure)
    fastest = min(level, key=lambda n: (contest.latency[n].value, candidates[n].label))
    rule = f"{candidates[fastest].label} is the fastest of them, and decision.when_tied is fastest"
    return fastest, "winner", (tie, rule)


def _place(contest: _Contest, n: int, winner: int | None) -> Place:
    if n == winner:
        return "winner"
    if n not in contest.able:
        return "excluded"
    return "tied" if n == contest.leader or n in contest.tied else "beaten"


def _reason(contest: _Contest, n: int, winner: int | None) -> str:
    leader = contest.leader
    if n not in contest.able or leader is None:
        missed = [result for result in contest.results[n] if result.result != "met"]
        return "; ".join(f"{result.result}: {result.text}" for result in missed)
    if n == winner:
        return "fastest of the tied" if contest.tied else "best score"
    if n == leader:
        return "best score, but not with confidence"
    ahead = contest.score_draws[:, leader] - contest.score_draws[:, n]
    half = contest.settings.confidence / 2
    low, high = np.quantile(ahead, [0.5 - half, 0.5 + half])
    verb = "not told apart from" if n in contest.tied else "beaten by"
    span = f"{math.expm1(low):+.1%} to {math.expm1(high):+.1%}"
    return f"{verb} {contest.candidates[leader].label} (score ahead by {span})"
