"""Sensitivity: how far a setting can move before another candidate leads, found exactly and not by trying.

All of it speaks of the values as found; how certain they are is what intervals and P(best) say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bakeoff.core.config.decision_rules import Cost, Lexicographic, QualityFloor, Weighted
from bakeoff.core.decision.ranking import Contest
from bakeoff.core.decision.scoring import Quantity
from bakeoff.record import Record

Moved = Literal["quality share", "accuracy threshold", "price ratio", "quality floor"]


class Turn(Record):
    """A value of a setting beyond which another candidate leads.

    Attributes:
        at: The value.
        leader: Who leads beyond it; None if then nobody may win.
    """

    at: float
    leader: str | None


class Sensitivity(Record):
    """How far one setting can move before another candidate leads.

    Attributes:
        moved: ``quality share`` is what quality counts of both weights, from 0 to 1; ``accuracy threshold``
            as in the settings; ``price ratio`` is the price of the leader's instance divided by that of the
            others'; ``quality floor`` is the F1 that the interval must reach.
        value: As it is set.
        leader: Who leads there.
        low: The first turn below; None if there is none.
        high: The first turn above; None if there is none.
    """

    moved: Moved
    value: float
    leader: str
    low: Turn | None
    high: Turn | None


def find_sensitivity(contest: Contest) -> tuple[Sensitivity, ...]:
    """Find where the leader changes; nothing where nobody may win."""
    leader, ranking = contest.leader, contest.ranking
    if leader is None:
        return ()
    match contest.settings.objective:
        case Weighted() as objective if ranking.sides is not None:
            return (_move_share(contest, leader, objective.weights.quality_share, ranking.sides),)
        case Lexicographic() as objective:
            return (_move_threshold(contest, leader, objective),)
        case Cost():
            return _move_price(contest, leader), _move_floor(contest, leader)
        case _:
            return ()


def _move_share(contest: Contest, leader: int, share: float, sides: tuple[Quantity, Quantity]) -> Sensitivity:
    """The score is s · quality + (1 - s) · latency: two candidates cross at one share s, or never."""
    quality, latency = (side.values for side in sides)
    labels = contest.labels
    crossings: list[tuple[float, int]] = []
    for n in contest.able:
        gain, loss = float(quality[leader] - quality[n]), float(latency[n] - latency[leader])
        # The leader is ahead by s · gain - (1 - s) · loss, which is 0 at loss / (gain + loss).
        if n != leader and gain + loss != 0:
            crossings.append((loss / (gain + loss), n))

    def turn(at: float | None, beyond: float) -> Turn | None:
        if at is None:
            return None
        crossing = [n for where, n in crossings if where == at]
        after = max(crossing, key=lambda n: float(beyond * quality[n] + (1 - beyond) * latency[n]))
        return Turn(at=at, leader=labels[after])

    def leads_below(n: int) -> bool:
        """Whether a candidate that is better in latency is behind because of quality."""
        return float(quality[leader] - quality[n]) > float(latency[leader] - latency[n])

    low = max((at for at, n in crossings if 0 < at <= share and leads_below(n)), default=None)
    high = min((at for at, n in crossings if share <= at < 1 and not leads_below(n)), default=None)
    return Sensitivity(
        moved="quality share",
        value=share,
        leader=labels[leader],
        low=turn(low, 0.0),
        high=turn(high, 1.0),
    )


def _move_threshold(contest: Contest, leader: int, objective: Lexicographic) -> Sensitivity:
    """As the threshold grows, more candidates are within, and each that is faster than all before leads."""
    quality, relative_latency = contest.evidence.quality.values, contest.evidence.relative_latency.values
    able, labels = contest.able, contest.labels
    best = max(float(quality[n]) for n in able)
    is_relative = objective.threshold_scale == "relative" and best > 0
    gaps = {n: (best - float(quality[n])) / (best if is_relative else 1.0) for n in able}

    def fastest(among: Sequence[int]) -> int:
        return min(among, key=lambda n: (float(relative_latency[n]), labels[n]))

    nearer = [n for n in able if gaps[n] < gaps[leader]]
    faster = [n for n in able if gaps[n] > gaps[leader] and relative_latency[n] < relative_latency[leader]]
    at = min((gaps[n] for n in faster), default=None)
    return Sensitivity(
        moved="accuracy threshold",
        value=objective.accuracy_threshold,
        leader=labels[leader],
        low=Turn(at=gaps[leader], leader=labels[fastest(nearer)]) if nearer else None,
        high=Turn(at=at, leader=labels[fastest([n for n in faster if gaps[n] == at])])
        if at is not None
        else None,
    )


def _move_price(contest: Contest, leader: int) -> Sensitivity:
    """How many times as much per hour the leader's instance may cost as the instances of the others."""
    keys, labels = contest.ranking.key.values, contest.labels
    others = [n for n in contest.able if n != leader]
    turn = None
    if others:
        second = max(others, key=lambda n: float(keys[n]))
        turn = Turn(at=float(np.exp(keys[leader] - keys[second])), leader=labels[second])
    return Sensitivity(moved="price ratio", value=1.0, leader=labels[leader], low=None, high=turn)


def _move_floor(contest: Contest, leader: int) -> Sensitivity:
    """Above the lower end of its interval the leader fails the floor, and the best of the others leads."""
    qualities, labels = contest.qualities, contest.labels
    at = qualities[leader].low
    others = [n for n in contest.able if qualities[n].low > at]
    after = max(others, key=lambda n: float(contest.ranking.key.values[n])) if others else None
    floors = [limit.at_least for limit in contest.settings.constraints if isinstance(limit, QualityFloor)]
    return Sensitivity(
        moved="quality floor",
        value=max(floors, default=0.0),
        leader=labels[leader],
        low=None,
        high=Turn(at=at, leader=labels[after] if after is not None else None),
    )
