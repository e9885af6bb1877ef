"""The race: who is not timed, who is dropped, when it ends, and how often the best is lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bakeoff.core.config.decision_rules import (
    Fastest,
    LatencyLimit,
    Lexicographic,
    QualityDrop,
    QualityFloor,
    Weighted,
)
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision import race
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.production import Production
from bakeoff.core.decision.race import Judged, RaceLook, find_hopeless, hold_look, spend
from bakeoff.measure.statistics.readings import COUNTED, LATENCY, REFERENCE, Reading
from bakeoff.measure.statistics.spreads import find_spreads
from bakeoff.measure.tasks import TokenClassification
from unit.core.field import FEW, make_candidate
from unit.outcomes import count_entities

TASK = TokenClassification()
LEXICOGRAPHIC = Lexicographic(kind="lexicographic", accuracy_threshold=0.02)
N_DOCUMENTS = 300


def settings(**changes: Any) -> DecisionSettings:
    return DecisionSettings(**{"resamples": FEW} | changes)


def entities(hits: int, seed: int = 0) -> Reading:
    """Of four entities about so many are right in each document."""
    noise = np.random.default_rng(seed).integers(0, 2, N_DOCUMENTS)
    return count_entities([min(max(hits - int(more), 0), 4) for more in noise], 4)


# --- before anything is timed -----------------------------------------------------------------------------

GOOD, NEAR, POOR = Judged("good", entities(4)), Judged("near", entities(4, 1)), Judged("poor", entities(2))


def test_who_is_outside_the_threshold_cannot_win_however_fast() -> None:
    hopeless = find_hopeless([GOOD, NEAR, POOR], TASK, settings(objective=LEXICOGRAPHIC))
    assert list(hopeless) == [2]
    assert hopeless[2].startswith("outside the accuracy threshold: F1 ")
    assert hopeless[2].endswith(" of good") or hopeless[2].endswith(" of near")


@pytest.mark.parametrize("objective", [Weighted(), Fastest(kind="fastest")])
def test_where_speed_can_make_up_for_quality_all_are_timed(objective: Any) -> None:
    assert find_hopeless([GOOD, POOR], TASK, settings(objective=objective)) == {}


def test_where_the_most_accurate_may_be_too_slow_all_are_timed() -> None:
    slow = LatencyLimit(kind="latency", at_most_ms=5)
    assert find_hopeless([GOOD, POOR], TASK, settings(objective=LEXICOGRAPHIC, constraints=(slow,))) == {}


@pytest.mark.parametrize(
    "limit",
    [
        QualityFloor(kind="quality", at_least=0.8),
        QualityDrop(kind="quality_drop", against="reference", at_most=0.01),
    ],
)
def test_who_certainly_fails_a_limit_of_quality_is_not_timed(limit: Any) -> None:
    hopeless = find_hopeless([GOOD, POOR, NEAR], TASK, settings(constraints=(limit,)))
    assert list(hopeless) == [1]
    assert hopeless[1].startswith("failed: F1")


def test_what_the_registry_would_have_to_say_excludes_nobody() -> None:
    limit = QualityDrop(kind="quality_drop", against="production", at_most=0.01)
    assert find_hopeless([GOOD, POOR], TASK, settings(constraints=(limit,))) == {}


def test_one_candidate_has_no_rival_and_is_timed() -> None:
    limit = QualityFloor(kind="quality", at_least=0.8)
    assert find_hopeless([POOR], TASK, settings(constraints=(limit,))) == {}


# --- while it is timed ------------------------------------------------------------------------------------


def time_together(logs: np.ndarray[Any, Any]) -> tuple[dict[str, Reading], list[Reading]]:
    """Timed calls of candidates in one heat, from log times [candidates, repeats, rounds]."""

    def make(quantity: str, row: np.ndarray[Any, Any]) -> Reading:
        repeats, rounds = np.indices(row.shape)
        ns = 1e7 * np.exp(row.ravel())
        return Reading(
            quantity=quantity,
            unit="ns",
            at={"batch_size": 1},
            values=tuple(ns.tolist()),
            repeats=tuple(repeats.ravel().tolist()),
            columns={
                "round": tuple(rounds.ravel().tolist()),
                "left_out": (COUNTED,) * ns.size,
                "calls_per_sample": (1,) * ns.size,
                "cpu_ns": tuple(ns.astype(int).tolist()),
            },
        )

    own = {f"c{n}": {1: make(LATENCY, row)} for n, row in enumerate(logs)}
    spreads = find_spreads(own, "c0", [(0.5, "time"), (0.5, "ratio")])
    return (
        {name: rows[1].replace(spreads=spreads) for name, rows in own.items()},
        [make(REFERENCE, logs[0]) for _ in logs],
    )


def race_heat(
    speeds: list[float], outcomes: list[Reading] | None = None, repeats: int = 3, seed: int = 0
) -> list[Candidate]:
    """Candidates of one heat whose true times are 10 ms times these factors; processes differ by 3 %."""
    random = np.random.default_rng(seed)
    shape = (len(speeds), repeats, 1)
    logs = np.log(speeds)[:, np.newaxis, np.newaxis] + 0.03 * random.standard_normal(shape)
    logs = logs + 0.2 * random.standard_normal((1, repeats, 1))
    logs = logs + 0.005 * random.standard_normal((len(speeds), repeats, 8))
    own, references = time_together(logs)
    return [
        make_candidate(
            name,
            outcomes=outcomes[n] if outcomes else entities(4),
            latency={1: reading},
            references={1: references[n]} if n else {},
            reference_key="k0",
            heat_id="heat",
            latency_key=f"k{n}",
        )
        for n, (name, reading) in enumerate(own.items())
    ]


def look(candidates: list[Candidate], repeats: int = 3, **changes: Any) -> RaceLook:
    racing = [candidate.label for candidate in candidates]
    return hold_look(
        candidates, settings(**changes), Production(), repeats=repeats, max_repeats=10, racing=racing
    )


def test_who_is_beaten_is_dropped_and_the_race_ends_when_one_is_left() -> None:
    found = look(race_heat([1.0, 0.3, 1.5]))
    assert set(found.dropped) == {"c0 × torch-fp32", "c2 × torch-fp32"}
    assert found.dropped["c2 × torch-fp32"].startswith("beaten by c1 × torch-fp32 (score ahead by +")
    assert (found.stop, found.detail) == ("decided", "only c1 × torch-fp32 may still win")


def test_twins_are_measured_on() -> None:
    found = look(race_heat([1.0, 1.0, 3.0]), objective=Fastest(kind="fastest"))
    assert list(found.dropped) == ["c2 × torch-fp32"]
    assert found.stop is None


def test_who_fails_a_limit_is_dropped_even_without_a_leader() -> None:
    limit = LatencyLimit(kind="latency", quantile=0.5, at_most_ms=5)
    found = look(race_heat([1.0, 4.0]), constraints=(limit,))
    assert found.dropped["c1 × torch-fp32"].startswith("failed: p50 at batch size 1: ")
    assert found.stop is None


def test_a_leader_that_may_itself_be_excluded_beats_nobody_yet() -> None:
    memory = {"kind": "memory", "at_most_bytes": 1}
    found = look(race_heat([1.0, 0.2]), constraints=(memory,))
    assert (found.dropped, found.stop) == ({}, None)


def test_a_tie_that_only_documents_can_break_ends_the_race_and_says_how_many() -> None:
    close = [entities(3, seed) for seed in (1, 2)]
    found = look(race_heat([1.0, 1.04], close, repeats=8), repeats=8)
    assert found.stop == "documents"
    names, _, reason = found.detail.partition(" are tied because documents are too few: ")
    assert names == "c0 × torch-fp32, c1 × torch-fp32"
    assert "more document" in reason or reason == "more would not decide"


def test_what_cannot_be_ranked_yet_is_measured_on() -> None:
    first, second = race_heat([1.0, 0.2])
    other = second.replace(environment=second.environment.replace(libraries={"torch": "1.0"}))
    assert look([first, other]) == RaceLook({})


# --- the promise ------------------------------------------------------------------------------------------


def test_all_looks_together_spend_the_error_and_no_more() -> None:
    spent = [spend(number, 18, 0.95) for number in range(1, 19)]
    assert sum(spent) == pytest.approx(0.05 * (1 - race.QUALITY_SHARE))
    assert all(earlier > later > 0 for earlier, later in pairwise(spent))


def lose_equals(n_races: int) -> float:
    """Share of equal candidates that some look of a race drops: each of them is the best."""
    lost = 0
    for seed in range(n_races):
        dropped = set[str]()
        whole = 0.04 * np.random.default_rng(seed).standard_normal((5, 8, 1))
        for repeats in range(3, 9):
            own, references = time_together(np.repeat(whole[:, :repeats], 8, axis=2))
            candidates = [
                make_candidate(
                    name,
                    outcomes=None,
                    latency={1: own[name]},
                    references={1: references[n]} if n else {},
                    reference_key="k0",
                    heat_id="heat",
                    latency_key=f"k{n}",
                )
                for n, name in enumerate(own)
            ]
            dropped |= look(
                candidates, repeats, objective=Fastest(kind="fastest"), resamples=400
            ).dropped.keys()
        lost += len(dropped)
    return lost / (5 * n_races)


def test_the_best_is_seldom_lost_and_without_spending_it_is_often_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`benchmarks/race.py` shows it for more candidates, heavy tails, and quality."""
    assert lose_equals(24) <= 0.05
    at_level: Callable[..., DecisionSettings] = race._at_level
    monkeypatch.setattr(race, "spend", lambda *_: 0.05)
    monkeypatch.setattr(race, "_at_level", lambda error, _, given: at_level(error, 2, given))
    assert lose_equals(8) > 0.15
    assert math.isclose(race.spend(1, 1, 0.95), 0.05)
