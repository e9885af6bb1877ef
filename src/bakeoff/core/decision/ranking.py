"""Places: the candidates that may win, the leader, those that it beats, and the reasons in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from bakeoff.core.config.decision_rules import Fastest, Lexicographic, Weighted
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import (
    RelativeLatency,
    count_exceptions,
    draw_relative_latency,
    estimate_all,
    estimate_known,
    require_latency,
)
from bakeoff.core.decision.candidates import Candidate, metric_of
from bakeoff.core.decision.constraints import ConstraintResult, Met, check_constraint
from bakeoff.core.decision.pareto import find_front
from bakeoff.core.decision.production import (
    NOT_MEASURED,
    Distance,
    Gaps,
    Production,
    find_production,
    measure_distances,
    measure_gaps,
)
from bakeoff.core.decision.scoring import Evidence, Quantity, Ranking, rank
from bakeoff.core.estimate import Estimate
from bakeoff.core.quality import draw_metric
from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.tasks.metrics import Metric

Place = Literal["winner", "best so far", "tied", "undecided", "beaten", "excluded"]
Within = Literal["within", "may be within", "outside"]
Outcome = Literal["winner", "tie", "undecided", "none"]
How = Literal["clear", "tie broken by speed"]
Results = tuple[tuple[ConstraintResult, ...], ...]
UNKNOWN: Met = "cannot tell"
# A larger share is written as a factor.
MOST_PERCENT = 10.0


@dataclass(frozen=True)
class Contest:
    """Facts about all candidates before they get a place; candidates are in the order of their names.

    Attributes:
        qualities: Quality of each candidate, with its interval; None if it was not measured.
        front: Whether each candidate is on the Pareto front; None if its quality was not measured.
        results: Results of the constraints for each candidate.
        able: Candidates that certainly meet every constraint, and have the figures that the objective needs.
        open: Candidates that may meet every constraint, with at least one undecided.
        p_best: Share of the resamples in which each is the best of the able and the open.
        leader: Best of the able as found; without any, of the open; None without either.
        not_ahead: Number of resamples in which the leader is not ahead of each; empty without a leader.
        tied: Able candidates that the leader does not beat with confidence.
        undecided: Open candidates that the leader does not beat with confidence, itself included.
        production: Version in production, with its candidate.
        distances: Distance of each candidate from production; None if that is not known.
    """

    settings: DecisionSettings
    evidence: Evidence
    ranking: Ranking
    qualities: tuple[Estimate | None, ...]
    front: tuple[bool | None, ...]
    results: Results
    able: tuple[int, ...]
    open: tuple[int, ...]
    p_best: tuple[float, ...]
    leader: int | None
    not_ahead: tuple[int, ...]
    tied: tuple[int, ...]
    undecided: tuple[int, ...]
    production: Production
    distances: tuple[Distance, ...] | None

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the candidates."""
        return tuple(candidate.label for candidate in self.evidence.candidates)

    @cached_property
    def scores(self) -> tuple[Estimate | None, ...]:
        """Score that the objective shows for each candidate; None if unknown."""
        return tuple(estimate_known(*self.ranking.score, self.settings))


class _Order(NamedTuple):
    """Fields of a contest that depend on objective and constraints; the evidence does not."""

    ranking: Ranking
    able: tuple[int, ...]
    open: tuple[int, ...]
    p_best: tuple[float, ...]
    leader: int | None
    not_ahead: tuple[int, ...]
    tied: tuple[int, ...]
    undecided: tuple[int, ...]


def hold_contest(
    candidates: Sequence[Candidate],
    settings: DecisionSettings,
    production: Production,
    *,
    is_latency_known: bool = False,
) -> Contest:
    """Check the candidates against the constraints, and compare them with each other.

    Args:
        candidates: Candidates; the first one is the reference.
        settings: Settings of the decision.
        production: Version in production.
        is_latency_known: Whether to take latencies as found, as if they had no uncertainty. What is tied then
            is tied because documents are too few.

    Raises:
        CannotTellError: A candidate has no latency, or too few samples of it; or the objective or a limit
            does not fit the metric.
    """
    evidence = _gather(candidates, settings)
    if is_latency_known:
        evidence = replace(evidence, relative_latency=_without_uncertainty(evidence.relative_latency))
    ordered = evidence.candidates
    known = find_production(production, ordered)
    labels = [each.label for each in ordered]
    base = labels.index(known.label) if known.label is not None else None
    qualities = estimate_known(*evidence.quality, settings)
    results = _check(evidence, qualities, known, base, settings)
    return Contest(
        settings=settings,
        evidence=evidence,
        qualities=tuple(qualities),
        front=_find_front(evidence, settings),
        results=results,
        production=known,
        distances=None
        if base is None
        else tuple(measure_distances(*evidence.quality, evidence.relative_latency, base, settings)),
        **_find_order(evidence, results, settings)._asdict(),
    )


def hold_again(
    contest: Contest, settings: DecisionSettings, results: Results, ranking: Ranking | None = None
) -> Contest:
    """Hold a contest again on the same evidence, with another objective or other limits.

    Args:
        contest: Contest with the evidence.
        settings: Settings that differ from those of the contest in objective and constraints alone.
        results: Results of their constraints for each candidate.
        ranking: Ranking by the same objective, if it does not depend on the candidates that may win; None
            ranks again.

    Raises:
        CannotTellError: The objective does not fit the measured quality.
    """
    order = _find_order(contest.evidence, results, settings, ranking)
    return replace(contest, settings=settings, results=results, **order._asdict())


def _find_order(
    evidence: Evidence, results: Results, settings: DecisionSettings, ranking: Ranking | None = None
) -> _Order:
    meets = tuple(n for n, row in enumerate(results) if all(each.result == "met" for each in row))
    ranking = ranking or rank(evidence, meets, settings)
    able = tuple(n for n in meets if n not in ranking.unknown)
    may_win = tuple(n for n, row in enumerate(results) if all(each.result != "failed" for each in row))
    keyed = tuple(n for n in may_win if n not in able and n not in ranking.unknown)
    still_open = tuple(n for n in may_win if n in keyed or n in ranking.measured)
    leader = ranking.find_leader(able or keyed)
    not_ahead = ranking.count_not_ahead(leader) if leader is not None else ()
    allowed = count_exceptions(settings)
    return _Order(
        ranking=ranking,
        able=able,
        open=still_open,
        p_best=tuple(ranking.shares_of_best((*able, *keyed))),
        leader=leader,
        not_ahead=tuple(not_ahead),
        tied=tuple(n for n in able if n != leader and not_ahead[n] > allowed),
        undecided=tuple(
            n for n in still_open if not not_ahead or n in ranking.unknown or not_ahead[n] > allowed
        ),
    )


def find_winner(contest: Contest) -> tuple[int | None, How | None]:
    """Find the number of the winner and the way in which it won; None and None without one."""
    leader = contest.leader
    if leader is None or contest.undecided:
        return None, None
    if not contest.tied:
        return leader, "clear"
    if contest.settings.when_tied == "report":
        return None, None
    latency = contest.evidence.latency
    level = (leader, *contest.tied)
    return min(level, key=lambda n: (latency[n].value, contest.labels[n])), "tie broken by speed"


def name_outcome(contest: Contest, winner: int | None) -> Outcome:
    """Name the outcome of a contest, given its winner."""
    if winner is not None:
        return "winner"
    if contest.undecided:
        return "undecided"
    return "none" if contest.leader is None else "tie"


def place(contest: Contest, n: int, winner: int | None) -> Place:
    """Return the place of one candidate."""
    if n == winner:
        return "winner"
    if n == contest.leader and contest.undecided:
        return "best so far"
    if n in contest.undecided:
        return "undecided"
    if n not in contest.able and n not in contest.open:
        return "excluded"
    return "tied" if n == contest.leader or n in contest.tied else "beaten"


def explain_place(contest: Contest, n: int, winner: int | None) -> str:
    """Give the reason for a candidate's place."""
    leader = contest.leader
    open_points = "; ".join(list_open_points(contest, n))
    where = place(contest, n, winner)
    if leader is None or where in {"undecided", "excluded"}:
        return open_points
    best = name_best(contest.settings)
    if n == winner:
        return "fastest of the tied" if contest.tied else best
    if n == leader:
        return open_points or f"{best}, but not with confidence"
    verb = "tied with" if where == "tied" else "beaten by"
    return f"{verb} {contest.labels[leader]} ({_describe_lead(contest, leader, n)})"


def list_open_points(contest: Contest, n: int) -> list[str]:
    """List the constraints and figures that are failed or open, a line each."""
    missed = [f"{each.result}: {each.text}" for each in contest.results[n] if each.result != "met"]
    unknown = contest.ranking.unknown.get(n)
    return [*missed, *([f"{UNKNOWN}: {unknown}"] if unknown else [])]


def name_best(settings: DecisionSettings) -> str:
    """Name the leader's merit: ``best score``."""
    match settings.objective:
        case Weighted():
            return "best score"
        case Lexicographic():
            return "fastest of the most accurate"
        case Fastest():
            return "fastest"
        case _:
            return "least cost"


def find_within(contest: Contest, n: int) -> tuple[Within, float] | None:
    """Return whether a candidate is within the accuracy threshold, and the share of resamples."""
    within = contest.ranking.within
    if within is None:
        return None
    n_within = int(np.count_nonzero(within.draws[:, n]))
    allowed = count_exceptions(contest.settings)
    n_outside = contest.settings.resamples - n_within
    word: Within = "within" if n_outside <= allowed else "outside" if n_within <= allowed else "may be within"
    return word, n_within / contest.settings.resamples


def format_share(share: float) -> str:
    """Write a signed share in percent, without ``-0.0%``; above 1000 % as a factor."""
    text = f"{share:+.1%}" if share < MOST_PERCENT else f"×{1 + share:,.0f}"
    return "0.0%" if text in {"+0.0%", "-0.0%"} else text


def _describe_lead(contest: Contest, leader: int, n: int) -> str:
    """Describe the leader's lead as an interval; a candidate is beaten exactly if all of it is ahead."""
    settings, ranking = contest.settings, contest.ranking
    if ranking.within is not None:
        found = find_within(contest, n)
        share = 1 - contest.not_ahead[n] / settings.resamples
        return f"{found[0] if found else ''} the threshold; behind in {share:.1%} of resamples"
    key = ranking.key
    (lead,) = estimate_all(
        key.values[[leader]] - key.values[[n]], key.draws[:, [leader]] - key.draws[:, [n]], settings
    )
    low, high = lead.low, lead.high if lead.high is not None else math.inf
    match settings.objective:
        case Weighted(anchors=anchors) if anchors is not None:
            return f"score ahead by {_signed(low)} to {_signed(high)}"
        case Weighted():
            return f"score ahead by {format_share(math.expm1(low))} to {format_share(math.expm1(high))}"
        case Fastest():
            return f"takes {format_share(math.expm1(low))} to {format_share(math.expm1(high))} more time"
        case _:
            return f"costs {format_share(math.expm1(low))} to {format_share(math.expm1(high))} more"


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return "0.000" if text in {"+0.000", "-0.000"} else text


def _gather(candidates: Sequence[Candidate], settings: DecisionSettings) -> Evidence:
    ordered = tuple(sorted(candidates, key=lambda c: (c.label, c.champion_run_id)))
    latency = tuple(
        require_latency(c, settings.batch_size, settings.quantile, settings.confidence) for c in ordered
    )
    metric = metric_of(ordered, settings)
    return Evidence(
        candidates=ordered,
        metric=metric,
        reference=[c.label for c in ordered].index(candidates[0].label),
        latency=latency,
        quality=_gather_quality(ordered, metric, settings),
        relative_latency=draw_relative_latency(ordered, latency, settings),
    )


def _without_uncertainty(latency: RelativeLatency) -> RelativeLatency:
    return latency._replace(draws=np.broadcast_to(latency.values, latency.draws.shape))


def _gather_quality(
    candidates: Sequence[Candidate], metric: Metric | None, settings: DecisionSettings
) -> Quantity:
    values = np.full(len(candidates), np.nan)
    draws = np.full((settings.resamples, len(candidates)), np.nan)
    outcomes = {
        n: outcomes_of(each.outcomes) for n, each in enumerate(candidates) if each.outcomes is not None
    }
    if outcomes and metric is not None:
        judged = list(outcomes)
        values[judged] = [metric.value_of(each) for each in outcomes.values()]
        draws[:, judged] = draw_metric(list(outcomes.values()), metric, settings.resamples, settings.seed)
    return Quantity(values, draws)


def _find_front(evidence: Evidence, settings: DecisionSettings) -> tuple[bool | None, ...]:
    """Find the front of the candidates whose quality was measured."""
    judged = list(evidence.judged)
    front: list[bool | None] = [None] * len(evidence.candidates)
    if judged:
        draws = (evidence.gain.draws[:, judged], evidence.relative_latency.draws[:, judged])
        for n, is_on_front in zip(judged, find_front(*draws, settings), strict=True):
            front[n] = is_on_front
    return tuple(front)


def _check(
    evidence: Evidence,
    qualities: Sequence[Estimate | None],
    production: Production,
    base: int | None,
    settings: DecisionSettings,
) -> Results:
    wanted = {limit.against for limit in settings.constraints if limit.kind == "quality_drop"}
    bases = {"production": base, "reference": evidence.reference}
    gaps = {
        name: measure_gaps(*evidence.quality, number, settings)
        for name in wanted
        if (number := bases[name]) is not None
    }

    def gaps_of(n: int) -> Gaps:
        return {name: gaps[name][n] or NOT_MEASURED if name in gaps else production.reason for name in wanted}

    return tuple(
        tuple(
            check_constraint(
                candidate, limit, qualities[n], gaps_of(n), metric=evidence.metric, settings=settings
            )
            for limit in settings.constraints
        )
        for n, candidate in enumerate(evidence.candidates)
    )
