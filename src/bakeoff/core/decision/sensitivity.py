"""Sensitivity: the range of a setting in which the same candidate leads, found exactly, not by trying.

All of it is about values as found; intervals and P(best) show how certain they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from bakeoff.core.config.decision_rules import Cost, Lexicographic, QualityFloor, Weighted
from bakeoff.core.decision.ranking import Contest
from bakeoff.core.decision.scoring import Quantity
from bakeoff.record import Record

Moved = Literal["quality share", "accuracy threshold", "price ratio", "quality floor", "quality ceiling"]


class Turn(Record):
    """Value of a setting beyond which another candidate leads.

    Attributes:
        at: Value of the setting.
        leader: Leader beyond it; None if no candidate can win there.
    """

    at: float
    leader: str | None


class Sensitivity(Record):
    """Range of one setting in which the same candidate leads.

    Attributes:
        moved: Setting that moves: ``quality share`` is the weight of quality in [0, 1]; ``accuracy
            threshold`` is that of the settings; ``price ratio`` is the price of the leader's instance divided
            by that of the others; ``quality floor`` is the quality that the interval must reach, and
            ``quality ceiling`` the one that it must not exceed, for a metric of which less is better.
        value: Value of the setting now; None if it is not set, and the metric has no bound.
        leader: Leader now.
        low: First turn below, or None.
        high: First turn above, or None.
    """

    moved: Moved
    value: float | None
    leader: str
    low: Turn | None
    high: Turn | None


def find_sensitivity(contest: Contest) -> tuple[Sensitivity, ...]:
    """Find the values at which the leader changes; nothing without a leader."""
    leader, ranking = contest.leader, contest.ranking
    if leader is None:
        return ()
    match contest.settings.objective:
        case Weighted() as objective if ranking.sides is not None:
            return (_move_share(contest, leader, objective.weights.quality_share, ranking.sides),)
        # While every candidate is undecided, none is certain to set the threshold.
        case Lexicographic() as objective if contest.able:
            return (_move_threshold(contest, leader, objective),)
        case Cost():
            return _move_price(contest, leader), _move_floor(contest, leader)
        case _:
            return ()


def _move_share(contest: Contest, leader: int, share: float, sides: tuple[Quantity, Quantity]) -> Sensitivity:
    """Move the share s in s · quality + (1 - s) · latency: two candidates cross at one share, or never."""
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
        """Return whether a candidate that is better in latency is behind because of quality."""
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
    """Move the threshold: as it grows, more candidates are within, and the fastest of them leads."""
    gain, relative_latency = contest.evidence.gain.values, contest.evidence.relative_latency.values
    able, labels = contest.able, contest.labels
    best = max(float(gain[n]) for n in able)
    is_relative = objective.threshold_scale == "relative" and best != 0
    gaps = {n: (best - float(gain[n])) / (abs(best) if is_relative else 1.0) for n in able}

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
    """Move the price of the leader's instance, relative to that of the others."""
    keys, labels = contest.ranking.key.values, contest.labels
    others = [n for n in contest.able if n != leader]
    turn = None
    if others:
        second = max(others, key=lambda n: float(keys[n]))
        turn = Turn(at=float(np.exp(keys[leader] - keys[second])), leader=labels[second])
    return Sensitivity(moved="price ratio", value=1.0, leader=labels[leader], low=None, high=turn)


def _move_floor(contest: Contest, leader: int) -> Sensitivity:
    """Move the floor: above the nearer end of its interval the leader fails it, and another one leads.

    A metric to minimize has a ceiling instead.
    """
    metric, labels = contest.evidence.known_metric, contest.labels
    is_floor = metric.direction == "maximize"
    # The objective ranks only candidates whose quality was measured, so none is None.
    qualities = [each for each in contest.qualities if each is not None]
    worst = [each.low if is_floor or each.high is None else each.high for each in qualities]
    better = [n for n in contest.able if (worst[n] > worst[leader] if is_floor else worst[n] < worst[leader])]
    after = max(better, key=lambda n: float(contest.ranking.key.values[n])) if better else None
    turn = Turn(at=worst[leader], leader=labels[after] if after is not None else None)
    floors = [limit for limit in contest.settings.constraints if isinstance(limit, QualityFloor)]
    ends = [end for limit in floors for end in (limit.at_least, limit.at_most) if end is not None]
    widest = metric.low if is_floor else metric.high
    strictest = (max if is_floor else min)([*ends, widest])
    return Sensitivity(
        moved="quality floor" if is_floor else "quality ceiling",
        value=strictest if math.isfinite(strictest) else None,
        leader=labels[leader],
        low=None if is_floor else turn,
        high=turn if is_floor else None,
    )
