"""Sensitivity: beyond a turn the winner changes, and before it it does not; found by deciding again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.costs import Costs
from bakeoff.core.decision.decide import Decision
from bakeoff.core.decision.sensitivity import Sensitivity
from bakeoff.core.estimate import Estimate
from unit.core.field import make_exact, rule

STEP = 1e-6


def weighted(share: float, anchors: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"kind": "weighted", "weights": {"quality": share, "latency": 1 - share}, "anchors": anchors}


def threshold(value: float) -> dict[str, Any]:
    return {"kind": "lexicographic", "accuracy_threshold": value}


def decide_exactly(candidates: list[Candidate], objective: dict[str, Any], **more: Any) -> Decision:
    """Without any noise, so that the winner is who leads as found."""
    return rule(candidates, objective=objective, when_tied="fastest", resamples=100, **more)


def sensitivity_of(decision: Decision, number: int = 0) -> Sensitivity:
    return decision.sensitivity[number]


FIELD = [
    make_exact("best", hits=4, ms=16.0),
    make_exact("middle", hits=3, ms=6.0),
    make_exact("poor", hits=1, ms=1.0),
]
ANCHORS = {"quality": {"zero": 0.2, "one": 0.9}, "latency_ms": {"zero": 20.0, "one": 2.0}}


@pytest.mark.parametrize("anchors", [None, ANCHORS])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.65, 0.9])
def test_the_winner_stays_up_to_the_turn_of_its_weight_and_changes_beyond(
    share: float, anchors: dict[str, Any] | None
) -> None:
    found = sensitivity_of(decide_exactly(FIELD, weighted(share, anchors)))
    assert found.moved == "quality share"
    assert found.value == pytest.approx(share)
    turns = [(found.low, -STEP), (found.high, STEP)]
    assert any(turn for turn, _ in turns)
    for turn, beyond in turns:
        if turn is not None:
            assert decide_exactly(FIELD, weighted(turn.at - beyond, anchors)).winner == found.leader
            assert decide_exactly(FIELD, weighted(turn.at + beyond, anchors)).winner == turn.leader
        else:
            end = 0.0 if beyond < 0 else 1.0
            assert decide_exactly(FIELD, weighted(end, anchors)).winner == found.leader


@settings(max_examples=30)
@given(
    places=st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([1.0, 2.0, 3.0, 5.0, 8.0, 13.0])),
        min_size=2,
        max_size=5,
        unique=True,
    ),
    share=st.floats(0.01, 0.99),
)
def test_between_the_turns_no_weight_changes_the_winner(
    places: list[tuple[int, float]], share: float
) -> None:
    field = [make_exact(f"c{n}", hits=hits, ms=ms) for n, (hits, ms) in enumerate(places)]
    found = sensitivity_of(decide_exactly(field, weighted(share)))
    low = found.low.at + STEP if found.low else 0.0
    high = found.high.at - STEP if found.high else 1.0
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        if low <= high:
            again = decide_exactly(field, weighted(low + part * (high - low)))
            scores = {row.label: row.score.value for row in again.standings if row.score}
            assert scores[found.leader] == pytest.approx(max(scores.values()))


def test_a_lone_candidate_leads_at_every_weight() -> None:
    found = sensitivity_of(decide_exactly(FIELD[:1], weighted(0.5)))
    assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize(
    ("value", "leader", "low", "high"),
    [
        (0.0, "best", None, (0.25, "middle")),
        (0.3, "middle", (0.25, "best"), (0.75, "poor")),
        (0.8, "poor", (0.75, "middle"), None),
    ],
)
def test_the_threshold_turns_at_the_gaps_to_the_most_accurate(
    value: float, leader: str, low: tuple[float, str] | None, high: tuple[float, str] | None
) -> None:
    found = sensitivity_of(decide_exactly(FIELD, threshold(value)))
    assert (found.moved, found.leader) == ("accuracy threshold", f"{leader} × torch-fp32")
    for turn, expected, beyond in ((found.low, low, -STEP), (found.high, high, STEP)):
        assert (turn is None) == (expected is None)
        if turn is not None and expected is not None:
            assert turn.at == pytest.approx(expected[0])
            assert turn.leader == f"{expected[1]} × torch-fp32"
            assert decide_exactly(FIELD, threshold(turn.at + beyond)).winner == turn.leader


def priced(candidate: Candidate, cost: float) -> Candidate:
    estimate = Estimate(value=cost, low=cost, high=cost)
    return candidate.model_copy(update={"costs": Costs(cost_per_million=estimate)})


def test_the_price_may_rise_to_the_cost_of_the_second_and_the_floor_to_the_quality_of_the_winner() -> None:
    field = [priced(FIELD[0], 12.0), priced(FIELD[1], 5.0), priced(FIELD[2], 4.0)]
    decision = decide_exactly(field, {"kind": "cost"}, price_per_hour=1.0)
    price, floor = decision.sensitivity
    assert decision.winner == "poor × torch-fp32"
    assert price.high is not None
    assert (price.moved, price.high.leader) == ("price ratio", "middle × torch-fp32")
    assert price.high.at == pytest.approx(5.0 / 4.0)
    assert floor.high is not None
    assert (floor.moved, floor.high.at, floor.high.leader) == ("quality floor", 0.25, "middle × torch-fp32")
    above = {"kind": "quality", "at_least": floor.high.at + STEP}
    assert decide_exactly(field, {"kind": "cost"}, price_per_hour=1.0, constraints=[above]).winner == (
        floor.high.leader
    )


def test_where_nobody_may_win_nothing_can_move() -> None:
    limit = {"kind": "quality", "at_least": 1.0}
    assert decide_exactly(FIELD[1:], weighted(0.5), constraints=[limit]).sensitivity == ()
