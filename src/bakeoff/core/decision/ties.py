"""Ties: what would tell the tied apart."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bakeoff.core.config.decision_rules import Lexicographic, Weighted
from bakeoff.core.decision.bootstrap import Draws
from bakeoff.core.decision.ranking import Contest
from bakeoff.record import Record

# Beyond this nobody would go, and the estimate is no more than a way to say no.
_MOST_TIMES = 1000
_Z95 = 1.959964


class Effort(Record):
    """So many test documents and fresh processes of each candidate, in all.

    Attributes:
        documents: Of the evaluation split.
        repeats: Of the latency scenario.
    """

    documents: int
    repeats: int


class Tie(Record):
    """Candidates that the data do not tell apart, and what would.

    Attributes:
        labels: Of the tied.
        now: What the decision had.
        enough: Any one of these would tell the leader from all others, if the differences are as found: more
            documents alone, more processes alone, or both. Empty where nothing within reason would.
    """

    labels: tuple[str, ...]
    now: Effort
    enough: tuple[Effort, ...]


class _Margin(NamedTuple):
    """A difference that is not certain, and its two independent errors as standard deviations."""

    value: float
    by_documents: float
    by_repeats: float


def explain_tie(contest: Contest) -> Tie | None:
    """Estimate what would break a tie; None where there is none.

    Errors shrink with the square root of the number of documents, or of processes. A difference is certain
    once it is as wide as half of its interval. The difference itself is taken as found, which is a guess: of
    a tie it is known least of all.
    """
    from scipy.special import ndtri

    leader, settings = contest.leader, contest.settings
    if leader is None or not contest.tied or contest.undecided:
        return None
    z = float(ndtri(0.5 + settings.confidence / 2))
    margins = [margin for n in contest.tied for margin in _find_margins(contest, leader, n)]
    candidates = [contest.evidence.candidates[n] for n in (leader, *contest.tied)]
    now = Effort(
        documents=candidates[0].n_documents,
        repeats=min(each.count_repeats(settings.batch_size) for each in candidates),
    )
    factors = (
        (max(_times(m, z, of_documents=True) for m in margins), 1.0),
        (1.0, max(_times(m, z, of_documents=False) for m in margins)),
    )
    both = max(_times_of_both(margin, z) for margin in margins)
    usable = [pair for pair in factors if max(pair) <= _MOST_TIMES] or (
        [(both, both)] if both <= _MOST_TIMES else []
    )
    return Tie(
        labels=tuple(sorted(each.label for each in candidates)),
        now=now,
        enough=tuple(
            Effort(
                documents=_round_up(now.documents * documents),
                repeats=math.ceil(now.repeats * repeats),
            )
            for documents, repeats in usable
        ),
    )


def _find_margins(contest: Contest, leader: int, n: int) -> list[_Margin]:
    """The differences that must be certain for the leader to be ahead of another candidate."""
    ranking, key = contest.ranking, contest.ranking.key
    ahead = float(key.values[leader] - key.values[n])
    match contest.settings.objective:
        case Weighted() as objective if ranking.sides is not None:
            share = objective.weights.quality_share
            quality, latency = (side.draws[:, leader] - side.draws[:, n] for side in ranking.sides)
            return [_Margin(ahead, share * _spread(quality), (1 - share) * _spread(latency))]
        case Lexicographic() as objective if ranking.within is not None:
            # That the leader is within; and that the other is outside, or else slower.
            room = _find_room(contest, leader, objective)
            if ranking.within.values[n] == 0:
                return [room, _find_room(contest, n, objective)]
            relative_latency = contest.evidence.relative_latency
            slower = math.log(float(relative_latency.values[n] / relative_latency.values[leader]))
            return [
                room,
                _Margin(
                    slower,
                    0.0,
                    _spread(np.log(relative_latency.draws[:, n] / relative_latency.draws[:, leader])),
                ),
            ]
        case _:
            return [_Margin(ahead, 0.0, _spread(key.draws[:, leader] - key.draws[:, n]))]


def _find_room(contest: Contest, n: int, objective: Lexicographic) -> _Margin:
    """How far F1 lies from the floor that the most accurate sets; of that one itself nothing is uncertain."""
    values, draws = contest.evidence.quality
    best = max(contest.able, key=lambda one: float(values[one]))
    if n == best:
        return _Margin(math.inf, 0.0, 0.0)
    is_relative = objective.threshold_scale == "relative"
    threshold = objective.accuracy_threshold
    floor = values[best] * (1 - threshold) if is_relative else values[best] - threshold
    return _Margin(abs(float(values[n] - floor)), _spread(draws[:, n] - draws[:, best]), 0.0)


def _spread(draws: Draws) -> float:
    """A standard deviation from the central 95 %: draws of few repeats have tails that own no variance."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(high - low) / (2 * _Z95)


def _times(margin: _Margin, z: float, *, of_documents: bool) -> float:
    """How many times as much of one of the two is needed alone; inf where that would not do."""
    error, other = margin.by_documents, margin.by_repeats
    if not of_documents:
        error, other = other, error
    room = (margin.value / z) ** 2 - other**2
    if room <= 0 or margin.value <= 0:
        return math.inf
    return max(error**2 / room, 1.0)


def _times_of_both(margin: _Margin, z: float) -> float:
    if margin.value <= 0:
        return math.inf
    return max((margin.by_documents**2 + margin.by_repeats**2) * (z / margin.value) ** 2, 1.0)


def _round_up(number: float) -> int:
    """To two significant digits, upwards: the estimate has no more."""
    unit = int(10 ** max(len(str(math.ceil(number))) - 2, 0))
    return math.ceil(number / unit) * unit
