"""What if: the outcome with other weights and latency limits, each as ``decide`` would find it.

Objective and limits change neither resamples nor draws. So the same contest is held again on the evidence
that is there, once for each pair of values on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Self

from pydantic import model_validator

from bakeoff.core.config.decision_rules import LatencyLimit, Lexicographic, Objective, Weighted, Weights
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import find_latency
from bakeoff.core.decision.constraints import check_latency
from bakeoff.core.decision.ranking import (
    Contest,
    Outcome,
    Place,
    Results,
    find_winner,
    hold_again,
    name_outcome,
    place,
)
from bakeoff.core.estimate import Estimate
from bakeoff.errors import CannotTellError
from bakeoff.record import Record

_MOST_STEPS = 20
_MOST_LIMITS = 11
# Draws to look at in all: about a second, and more than 200 candidates with 2,000 resamples need.
_MOST_DRAWS = 120_000_000
_FEWEST_STEPS, _FEWEST_LIMITS = 5, 3
_LIMIT_DIGITS = 2
_WIDEST = 3.0

MovedObjective = Literal["quality share", "accuracy threshold"]


class MovedOutcome(Record):
    """Outcome of a decision with other settings; candidates are numbers in the standings.

    Attributes:
        winner: The winner; None without one.
        best_so_far: Leader while candidates are undecided; else None.
        tied: Candidates that are tied, without a winner that ``decision.when_tied`` names.
        undecided: Candidates with an undecided constraint that may still win.
        excluded: Candidates that cannot win. All others are beaten.
    """

    outcome: Outcome
    winner: int | None = None
    best_so_far: int | None = None
    tied: tuple[int, ...] = ()
    undecided: tuple[int, ...] = ()
    excluded: tuple[int, ...] = ()


class WhatIf(Record):
    """Outcomes of a decision over a grid of settings.

    Attributes:
        moved: Setting of the objective that moves; None if the objective has none.
        values: Its values in ascending order, that of the settings among them; empty if none moves.
        value_now: Number of the value of the settings.
        batch_size: Batch size of the latency limit that moves: the first of the constraints, or else one on
            the latency that counts.
        quantile: Quantile of that limit.
        limits_ms: Its values in ms, in ascending order; the last is None, which means no limit.
        limit_now: Number of the limit of the settings.
        outcomes: Different outcomes.
        found: [values][limits] Number of the outcome; one row if no value moves.
        p_best: [values][limits] P(best) of the winner, or else of the leader; 0 without one.
    """

    moved: MovedObjective | None
    values: tuple[float, ...]
    value_now: int
    batch_size: int
    quantile: float
    limits_ms: tuple[float | None, ...]
    limit_now: int
    outcomes: tuple[MovedOutcome, ...]
    found: tuple[tuple[int, ...], ...]
    p_best: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _is_a_whole_grid(self) -> Self:
        shape = max(len(self.values), 1), len(self.limits_ms)
        for grid in (self.found, self.p_best):
            if (len(grid), {len(row) for row in grid}) != (shape[0], {shape[1]}):
                raise ValueError(f"a grid does not have {shape[0]} rows of {shape[1]}")
        if not (0 <= self.value_now < shape[0] and 0 <= self.limit_now < shape[1]):
            raise ValueError("the settings are not on the grid")
        if not {number for row in self.found for number in row} <= set(range(len(self.outcomes))):
            raise ValueError("the grid names an outcome that is not there")
        return self

    @property
    def candidates(self) -> frozenset[int]:
        """Numbers of all candidates that an outcome names."""
        return frozenset(
            number
            for each in self.outcomes
            for number in (
                *(first for first in (each.winner, each.best_so_far) if first is not None),
                *each.tied,
                *each.undecided,
                *each.excluded,
            )
        )

    def settings_at(self, settings: DecisionSettings, value: int, limit: int) -> DecisionSettings:
        """Return the settings of the decision with the values at a place of the grid.

        Args:
            settings: Settings of the decision.
            value: Number of the objective's value.
            limit: Number of the limit.
        """
        if self.moved is not None and value != self.value_now:
            settings = settings.replace(objective=_move_objective(settings.objective, self.values[value]))
        if limit == self.limit_now:
            return settings
        limit_ms = self.limits_ms[limit]
        return _move_limit(settings, math.inf if limit_ms is None else limit_ms)


class _Steps(NamedTuple):
    """Values of one setting, and the number of the current one."""

    values: tuple[float, ...]
    now: int


class _Found(NamedTuple):
    outcome: MovedOutcome
    p_best: float


def find_what_if(contest: Contest, order: Sequence[int]) -> WhatIf | None:
    """Find the outcomes over the grid; None for one candidate, or if there are too many draws.

    Args:
        contest: Contest of all candidates.
        order: Numbers of the candidates in the order of the standings.
    """
    size = choose_size(contest.settings.resamples * len(order))
    if len(order) == 1 or size is None:
        return None
    n_steps, n_limits = size
    moved, steps = _list_steps(contest, n_steps)
    limit = _find_limit(contest.settings) or _limit_of(contest.settings, 1.0)
    latencies = _find_latencies(contest, limit)
    limits = _list_limits(contest.settings, latencies, n_limits)
    judged = [(limit_ms, _check_again(contest, latencies, limit_ms)) for limit_ms in limits.values]
    rows: dict[float, list[_Found]] = {}
    for value in steps.values:
        objective = contest.settings.objective
        if moved is not None and value != steps.values[steps.now]:
            objective = _move_objective(objective, value)
        try:
            rows[value] = list(_move_limits(contest, objective, judged, order))
        except CannotTellError:  # a score needs ratios that this quality does not have
            continue
    outcomes = tuple(dict.fromkeys(each.outcome for row in rows.values() for each in row))
    number = {outcome: n for n, outcome in enumerate(outcomes)}
    return WhatIf(
        moved=moved,
        values=tuple(rows) if moved is not None else (),
        value_now=list(rows).index(steps.values[steps.now]),
        batch_size=limit.batch_size,
        quantile=limit.quantile,
        limits_ms=tuple(None if math.isinf(each) else each for each in limits.values),
        limit_now=limits.now,
        outcomes=outcomes,
        found=tuple(tuple(number[each.outcome] for each in row) for row in rows.values()),
        p_best=tuple(tuple(each.p_best for each in row) for row in rows.values()),
    )


def choose_size(n_draws: int) -> tuple[int, int] | None:
    """Choose the number of steps and of limits of a grid, or None if even a small one takes too long.

    Args:
        n_draws: Resamples of all candidates.
    """
    for size in ((_MOST_STEPS, _MOST_LIMITS), (_FEWEST_STEPS, _FEWEST_LIMITS)):
        # Both ends of the steps, the settings, and no limit at all come on top.
        if (size[0] + 2) * (size[1] + 2) * n_draws <= _MOST_DRAWS:
            return size
    return None


def _move_limits(
    contest: Contest, objective: Objective, judged: Sequence[tuple[float, Results]], order: Sequence[int]
) -> Iterator[_Found]:
    """Hold the contest with one objective and each limit; equal results of the limits are one contest."""
    base, ranking = contest.settings.replace(objective=objective), None
    known: dict[tuple[tuple[str, ...], ...], _Found] = {}
    for limit_ms, results in judged:
        answers = tuple(tuple(each.result for each in row) for row in results)
        if answers not in known:
            moved = hold_again(contest, _move_limit(base, limit_ms), results, ranking)
            # Only the accuracy threshold depends on the candidates that may win.
            ranking = None if isinstance(objective, Lexicographic) else moved.ranking
            known[answers] = _find(moved, order)
        yield known[answers]


def _find(contest: Contest, order: Sequence[int]) -> _Found:
    winner, _ = find_winner(contest)
    places = [place(contest, n, winner) for n in order]

    def those(wanted: Place) -> tuple[int, ...]:
        return tuple(number for number, found in enumerate(places) if found == wanted)

    first = winner if winner is not None else contest.leader
    best_so_far = those("best so far")
    outcome = MovedOutcome(
        outcome=name_outcome(contest, winner),
        winner=order.index(winner) if winner is not None else None,
        best_so_far=best_so_far[0] if best_so_far else None,
        tied=those("tied"),
        undecided=those("undecided"),
        excluded=those("excluded"),
    )
    return _Found(outcome, 0.0 if first is None else round(contest.p_best[first], 6))


def _list_steps(contest: Contest, n_steps: int) -> tuple[MovedObjective | None, _Steps]:
    """List the values of the objective's setting; one without a meaning if it has none to move."""
    match contest.settings.objective:
        case Weighted() as objective:
            shares = [step / n_steps for step in range(n_steps + 1)]
            return "quality share", _include(shares, objective.weights.quality_share)
        case Lexicographic() as objective:
            return "accuracy threshold", _include(
                _list_thresholds(contest, objective, n_steps), objective.accuracy_threshold
            )
        case _:
            return None, _Steps((0.0,), 0)


def _list_thresholds(contest: Contest, objective: Lexicographic, n_steps: int) -> list[float]:
    """List equal steps from 0 until every candidate is within the threshold."""
    gain = contest.evidence.gain.values
    best, worst = float(gain.max()), float(gain.min())
    scale = abs(best) or 1.0 if objective.threshold_scale == "relative" else 1.0
    step = _round_up((best - worst) / scale / n_steps)
    thresholds = [round(step * number, 12) for number in range(n_steps + 1)]
    return [each for each in thresholds if objective.threshold_scale == "absolute" or each < 1]


def _round_up(value: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= value * (1 - 1e-9))


def _find_latencies(contest: Contest, limit: LatencyLimit) -> tuple[Estimate | None, ...]:
    """Find the latency that a limit is about, of every candidate."""
    settings, evidence = contest.settings, contest.evidence
    if (limit.batch_size, limit.quantile) == (settings.batch_size, settings.quantile):
        return evidence.latency
    return tuple(
        find_latency(each, limit.batch_size, limit.quantile, settings.confidence)
        for each in evidence.candidates
    )


def _list_limits(settings: DecisionSettings, latencies: Sequence[Estimate | None], n_limits: int) -> _Steps:
    """List the limits in equal ratios from the fastest candidate to the slowest; infinity means no limit."""
    limit = _find_limit(settings)
    now, known = math.inf if limit is None else limit.at_most_ms, [each for each in latencies if each]
    if not known:
        return _include([math.inf], now)
    # A candidate with few repeats has an interval of many times its value: no reader looks for limits there.
    low = min(max(each.low, each.value / _WIDEST) for each in known)
    high = max(min(math.inf if each.high is None else each.high, each.value * _WIDEST) for each in known)
    ratio = max(high / low, 1.0) ** (1 / (n_limits - 1))
    return _include([*(_round(low * ratio**number) for number in range(n_limits)), math.inf], now)


def _round(value: float) -> float:
    """Round up to few significant digits, so that the slowest candidate meets the last limit."""
    unit = 10.0 ** (math.floor(math.log10(value)) - _LIMIT_DIGITS + 1)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.{_LIMIT_DIGITS}g}")


def _include(values: Sequence[float], now: float) -> _Steps:
    """Add the value of the settings in its place, instead of one that rounding alone separates from it."""
    ordered = tuple(sorted({now, *(each for each in values if not math.isclose(each, now))}))
    return _Steps(ordered, ordered.index(now))


def _move_objective(objective: Objective, value: float) -> Objective:
    """Return the objective with another value of the setting that moves."""
    match objective:
        case Weighted():
            share = round(100 * value, 6)
            return objective.replace(weights=Weights(quality=share, latency=round(100 - share, 6)))
        case Lexicographic():
            return objective.replace(accuracy_threshold=value)
        case _:
            raise TypeError(f"nothing of the objective {objective.kind} moves")


def _find_limit(settings: DecisionSettings) -> LatencyLimit | None:
    """Find the latency limit that moves: the first of the constraints."""
    return next((limit for limit in settings.constraints if isinstance(limit, LatencyLimit)), None)


def _locate_limit(settings: DecisionSettings) -> int:
    """Return the place of that limit among the constraints; after the last one if there is none."""
    found, constraints = _find_limit(settings), settings.constraints
    return len(constraints) if found is None else constraints.index(found)


def _move_limit(settings: DecisionSettings, limit_ms: float) -> DecisionSettings:
    """Return the settings with another value of the latency limit that moves; infinity removes it."""
    at, constraints = _locate_limit(settings), settings.constraints
    moved = () if math.isinf(limit_ms) else (_limit_of(settings, limit_ms),)
    return settings.replace(constraints=(*constraints[:at], *moved, *constraints[at + 1 :]))


def _limit_of(settings: DecisionSettings, limit_ms: float) -> LatencyLimit:
    """Make the latency limit that moves; without one in the settings, it is on the latency that counts."""
    found = _find_limit(settings)
    return LatencyLimit(
        kind="latency",
        batch_size=found.batch_size if found else settings.batch_size,
        quantile=found.quantile if found else settings.quantile,
        at_most_ms=limit_ms,
    )


def _check_again(contest: Contest, latencies: Sequence[Estimate | None], limit_ms: float) -> Results:
    """Check the moved limit, and keep the results of all other constraints."""
    at = _locate_limit(contest.settings)
    limit = None if math.isinf(limit_ms) else _limit_of(contest.settings, limit_ms)
    candidates = contest.evidence.candidates
    return tuple(
        (
            *row[:at],
            *(() if limit is None else (check_latency(latency, limit, is_contended=each.is_contended),)),
            *row[at + 1 :],
        )
        for row, latency, each in zip(contest.results, latencies, candidates, strict=True)
    )
