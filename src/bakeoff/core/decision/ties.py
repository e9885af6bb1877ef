"""Ties: the number of documents and repeats that would break them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bakeoff.core.config.decision_rules import Fastest, Lexicographic, Weighted
from bakeoff.core.decision.ranking import Contest
from bakeoff.core.decision.scoring import find_tolerance
from bakeoff.core.quality import Draws
from bakeoff.record import Record

# Beyond this factor, more measurements are not an option.
_MOST_TIMES = 1000
_Z95 = 1.959964


class Effort(Record):
    """Number of test documents, and of fresh processes of each candidate, in all.

    Attributes:
        documents: Documents of the evaluation split; None if the objective ranks by speed alone.
        repeats: Repeats of the latency scenario.
    """

    documents: int | None
    repeats: int


class Tie(Record):
    """Candidates that are statistically tied, and the effort that would break the tie.

    Attributes:
        labels: Names of the tied candidates.
        now: Effort that the decision had.
        enough: Efforts of which any one would separate the leader from all others, if the differences are as
            found: more documents alone, more repeats alone, or both. Empty if no reasonable effort would.
    """

    labels: tuple[str, ...]
    now: Effort
    enough: tuple[Effort, ...]


class _Margin(NamedTuple):
    """Uncertain difference, and its two independent errors as standard deviations."""

    value: float
    by_documents: float
    by_repeats: float


def explain_tie(contest: Contest) -> Tie | None:
    """Estimate the effort that would break a tie; None without a tie.

    Errors shrink with the square root of the number of documents, or of processes. That of quality is the
    spread of its difference over the resamples, so it is right for every metric. A difference is certain
    once it is as wide as half of its interval. The difference itself is taken as found. That is a guess: in a
    tie it is especially uncertain.
    """
    from scipy.special import ndtri

    leader, settings = contest.leader, contest.settings
    if leader is None or not contest.tied or contest.undecided:
        return None
    z = float(ndtri(0.5 + settings.confidence / 2))
    margins = [margin for n in contest.tied for margin in _find_margins(contest, leader, n)]
    candidates = [contest.evidence.candidates[n] for n in (leader, *contest.tied)]
    is_by_speed = isinstance(settings.objective, Fastest)
    now = Effort(
        documents=None if is_by_speed else candidates[0].n_documents,
        repeats=min(each.count_repeats(settings.batch_size) for each in candidates),
    )
    of_documents = (max(_times(m, z, of_documents=True) for m in margins), 1.0)
    of_repeats = (1.0, max(_times(m, z, of_documents=False) for m in margins))
    factors = (of_repeats,) if is_by_speed else (of_documents, of_repeats)
    both = max(_times_of_both(margin, z) for margin in margins)
    usable = [pair for pair in factors if max(pair) <= _MOST_TIMES] or (
        [(both, both)] if both <= _MOST_TIMES else []
    )
    return Tie(
        labels=tuple(sorted(each.label for each in candidates)),
        now=now,
        enough=tuple(
            Effort(
                documents=None if now.documents is None else _round_up(now.documents * documents),
                repeats=math.ceil(now.repeats * repeats),
            )
            for documents, repeats in usable
        ),
    )


def _find_margins(contest: Contest, leader: int, n: int) -> list[_Margin]:
    """Find the differences that must be certain for the leader to be ahead of another candidate."""
    ranking, key = contest.ranking, contest.ranking.key
    ahead = float(key.values[leader] - key.values[n])
    match contest.settings.objective:
        case Weighted() as objective if ranking.sides is not None:
            share = objective.weights.quality_share
            quality, latency = (side.draws[:, leader] - side.draws[:, n] for side in ranking.sides)
            return [_Margin(ahead, share * _spread(quality), (1 - share) * _spread(latency))]
        case Lexicographic() as objective if ranking.within is not None:
            # The leader must be within the threshold, and the other one outside or slower.
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
    """Find the distance of quality from the floor that the most accurate sets; its own is certain."""
    values, draws = contest.evidence.gain
    best = max(contest.able, key=lambda one: float(values[one]))
    if n == best:
        return _Margin(math.inf, 0.0, 0.0)
    floor = values[best] - find_tolerance(values[best], objective)
    return _Margin(abs(float(values[n] - floor)), _spread(draws[:, n] - draws[:, best]), 0.0)


def _spread(draws: Draws) -> float:
    """Take a standard deviation from the central 95 %: with few repeats, the tails have infinite variance."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(high - low) / (2 * _Z95)


def _times(margin: _Margin, z: float, *, of_documents: bool) -> float:
    """Return the factor by which documents, or repeats, alone must grow; inf if that is not enough."""
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
    """Round up to two significant digits: the estimate has no more."""
    unit = int(10 ** max(len(str(math.ceil(number))) - 2, 0))
    return math.ceil(number / unit) * unit
