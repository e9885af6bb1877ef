"""Objectives: whom each puts first, what may not change that, and what each needs to know."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bakeoff.core.config.decision_rules import Anchors
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.costs import Costs
from bakeoff.core.decision.decide import Decision
from bakeoff.core.estimate import Estimate
from judged import quality_of
from unit.core.field import make_candidate, make_exact, order_of, rule, standing_of

ANCHORS = {"quality": {"zero": 0.5, "one": 0.9}, "latency_ms": {"zero": 20.0, "one": 2.0}}
WEIGHTED = {"kind": "weighted", "weights": {"quality": 0.8, "latency": 0.2}}
ANCHORED = {**WEIGHTED, "anchors": ANCHORS}
THRESHOLD = {"kind": "lexicographic", "accuracy_threshold": 0.02}
COST = {"kind": "cost"}
OBJECTIVES = (WEIGHTED, ANCHORED, THRESHOLD, COST)


def with_cost(candidate: Candidate, value: float, width: float = 0.01) -> Candidate:
    cost = Estimate(value=value, low=value * (1 - width), high=value * (1 + width))
    return candidate.model_copy(update={"costs": Costs(cost_per_million=cost)})


def rank(candidates: list[Candidate], objective: dict[str, Any], **more: Any) -> Decision:
    return rule(candidates, objective=objective, price_per_hour=1.0, **more)


GOOD = with_cost(make_candidate("good", 0.90, 5.0), 5.0)
NEAR = with_cost(make_candidate("near", 0.897, 4.0), 4.0)
FAST = with_cost(make_candidate("fast", 0.60, 2.0), 2.0)
SLOW = with_cost(make_candidate("slow", 0.50, 20.0), 20.0)
FIELD = [GOOD, NEAR, FAST, SLOW]
DOMINATED = with_cost(make_candidate("worse", 0.3, 60.0), 60.0)


@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=6)
@given(others=st.permutations(FIELD[1:]))
def test_the_order_of_the_candidates_changes_nothing(
    objective: dict[str, Any], others: list[Candidate]
) -> None:
    assert rank([GOOD, *others], objective).model_dump_json() == rank(FIELD, objective).model_dump_json()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", ["aaa", "zzz"])
def test_a_dominated_candidate_changes_no_ones_place(objective: dict[str, Any], name: str) -> None:
    before = rank(FIELD, objective)
    after = rank([*FIELD, DOMINATED.model_copy(update={"backbone": name})], objective)
    assert (before.outcome, before.winner) == (after.outcome, after.winner)
    assert [place for place in order_of(after) if place != name] == order_of(before)
    assert [row.p_best for row in after.standings if row.backbone != name] == [
        row.p_best for row in before.standings
    ]
    assert standing_of(after, name).place == "beaten"


@pytest.mark.parametrize("objective", [WEIGHTED, THRESHOLD, COST])
@settings(max_examples=6)
@given(factor=st.sampled_from([1e-3, 0.1, 3.7, 1000.0]))
def test_another_unit_of_time_or_money_changes_no_ones_place(
    objective: dict[str, Any], factor: float
) -> None:
    scaled = [with_cost(scale(each, factor), cost_of(each) * factor) for each in FIELD]
    one, two = rank(FIELD, objective), rank(scaled, objective)
    assert (one.outcome, one.winner, order_of(one)) == (two.outcome, two.winner, order_of(two))


def test_anchors_that_are_scaled_with_the_latencies_leave_the_scores() -> None:
    scaled = {**ANCHORED, "anchors": {**ANCHORS, "latency_ms": {"zero": 200.0, "one": 20.0}}}
    one, two = rank(FIELD, ANCHORED), rank([scale(each, 10.0) for each in FIELD], scaled)
    for row in one.standings:
        score, other = row.score, standing_of(two, row.backbone).score
        assert score is not None
        assert other is not None
        assert other.value == pytest.approx(score.value)


def scale(candidate: Candidate, factor: float) -> Candidate:
    (reading,) = candidate.latency.values()
    slower = reading.model_copy(update={"values": tuple(value * factor for value in reading.values)})
    return candidate.model_copy(update={"latency": {1: slower}})


def cost_of(candidate: Candidate) -> float:
    assert candidate.costs is not None
    assert candidate.costs.cost_per_million is not None
    return candidate.costs.cost_per_million.value


# --- anchors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "ms", "score"),
    [(2, 20.0, 0.0), (4, 2.0, 0.8 * 1.25 + 0.2), (3, 20.0, 0.5), (2, 200.0, -0.2), (4, 0.2, 1.4)],
)
def test_a_score_is_0_and_1_at_the_anchors_and_goes_on_beyond_them(
    hits: int, ms: float, score: float
) -> None:
    # F1 of 2, 3, 4 entities of 4 is 0.5, 0.75, 1.0; the anchors are 0.5 and 0.9.
    found = rank([make_exact("one", hits=hits, ms=ms)], ANCHORED).standings[0].score
    assert found is not None
    assert found.value == pytest.approx(score)


@pytest.mark.parametrize(
    "anchors",
    [
        {"quality": {"zero": 0.5, "one": 0.9}, "latency_ms": {"zero": 2, "one": 20}},
        {"quality": {"zero": 0.5, "one": 0.5}, "latency_ms": {"zero": 20, "one": 2}},
        {"quality": {"zero": 0.5, "one": 0.9}},
    ],
)
def test_anchors_the_wrong_way_round_are_refused(anchors: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Anchors.model_validate(anchors)


def test_steeper_anchors_of_quality_move_the_winner_to_the_more_accurate() -> None:
    def winner_between(zero: float, one: float) -> str | None:
        anchors = {**ANCHORS, "quality": {"zero": zero, "one": one}}
        weights = {"quality": 0.5, "latency": 0.5}
        return rank([GOOD, FAST], {**ANCHORED, "weights": weights, "anchors": anchors}).winner

    assert winner_between(0.5, 0.9) == GOOD.label
    assert winner_between(0.0, 1.0) == FAST.label


# --- quality first ----------------------------------------------------------------------------------------


def exact_field() -> list[Candidate]:
    return [
        make_exact("best", hits=4, ms=8.0),
        make_exact("middle", hits=3, ms=4.0),
        make_exact("poor", hits=2, ms=2.0),
    ]


@pytest.mark.parametrize(
    ("threshold", "scale_", "winner"),
    [
        (0.0, "absolute", "best"),
        (0.2499, "absolute", "best"),
        (0.25, "absolute", "middle"),
        (0.5, "absolute", "poor"),
        (0.2499, "relative", "best"),
        (0.25, "relative", "middle"),
    ],
)
def test_the_fastest_within_the_threshold_of_the_most_accurate_wins(
    threshold: float, scale_: str, winner: str
) -> None:
    objective = {"kind": "lexicographic", "accuracy_threshold": threshold, "threshold_scale": scale_}
    decision = rank(exact_field(), objective)
    assert (decision.winner, decision.how) == (f"{winner} × torch-fp32", "clear")
    assert standing_of(decision, winner).within == "within"
    assert standing_of(decision, winner).p_within == 1.0


def test_a_relative_threshold_is_a_share_of_the_best_quality() -> None:
    field = [make_exact("best", hits=2, ms=8.0), make_exact("poor", hits=1, ms=2.0)]  # F1 0.5 and 0.25
    objective = {"kind": "lexicographic", "accuracy_threshold": 0.3}
    assert rank(field, objective).winner == "poor × torch-fp32"
    assert rank(field, {**objective, "threshold_scale": "relative"}).winner == "best × torch-fp32"


def test_who_may_be_within_the_threshold_and_is_faster_makes_a_tie() -> None:
    gap = quality_of(standing_of(rank([GOOD, NEAR], THRESHOLD), "good")).value - (
        quality_of(standing_of(rank([GOOD, NEAR], THRESHOLD), "near")).value
    )
    edge = {"kind": "lexicographic", "accuracy_threshold": abs(gap)}
    decision = rank([GOOD, NEAR], edge)
    assert {row.within for row in decision.standings} >= {"may be within"}
    assert decision.outcome == "tie"


def test_who_is_outside_the_threshold_is_beaten_however_fast() -> None:
    decision = rank(FIELD, THRESHOLD)
    assert standing_of(decision, "fast").within == "outside"
    assert standing_of(decision, "fast").place == "beaten"
    assert standing_of(decision, "fast").reason.endswith(
        "(outside the threshold; behind in 100.0% of resamples)"
    )


def test_where_nobody_may_win_the_threshold_is_shown_from_the_most_accurate_of_all() -> None:
    limit = {"kind": "latency", "at_most_ms": 1.0}
    decision = rank(exact_field(), {"kind": "lexicographic", "accuracy_threshold": 0.25}, constraints=[limit])
    assert decision.outcome == "none"
    assert {row.backbone: row.within for row in decision.standings} == {
        "best": "within",
        "middle": "within",
        "poor": "outside",
    }


def test_the_most_accurate_is_sought_among_those_that_meet_the_constraints() -> None:
    limit = {"kind": "latency", "at_most_ms": 6.0}
    decision = rank(exact_field(), {"kind": "lexicographic", "accuracy_threshold": 0.1}, constraints=[limit])
    assert decision.winner == "middle × torch-fp32"


# --- cost -------------------------------------------------------------------------------------------------


def test_the_cheapest_that_meets_the_quality_floor_wins() -> None:
    floor = {"kind": "quality", "at_least": 0.7}
    decision = rank(FIELD, COST, constraints=[floor])
    assert (decision.winner, decision.how) == (NEAR.label, "clear")
    assert decision.standings[0].reason == "least cost"
    score = decision.standings[0].score
    assert score is not None
    assert score.value == pytest.approx(5.0 / 4.0)
    assert standing_of(decision, "good").reason.startswith("beaten by near × torch-fp32 (costs +")


def test_who_has_no_cost_cannot_be_told_and_does_not_win() -> None:
    why = Costs(absent={"cost_per_million": "the batch size that the decision uses was not measured"})
    unknown = FAST.model_copy(update={"costs": why})
    decision = rank([GOOD, unknown], COST)
    row = standing_of(decision, "fast")
    assert decision.winner == GOOD.label
    assert (row.place, row.score, row.p_best) == ("excluded", None, 0.0)
    assert row.reason == "cannot tell: cost: the batch size that the decision uses was not measured"


def test_a_cost_from_a_busy_machine_is_an_upper_bound_that_ranks_nobody() -> None:
    assert FAST.costs is not None
    busy = FAST.model_copy(update={"costs": FAST.costs.model_copy(update={"is_contended": True})})
    decision = rank([GOOD, busy], COST)
    assert (decision.outcome, decision.best_so_far) == ("undecided", GOOD.label)
    assert standing_of(decision, "fast").place == "undecided"
    assert standing_of(decision, "fast").reason.endswith("only an upper bound, since the machine was busy")


def test_without_the_cost_of_the_reference_there_is_a_winner_and_no_ratio() -> None:
    decision = rank([GOOD.model_copy(update={"costs": None}), NEAR, FAST], COST)
    assert decision.winner == FAST.label
    assert [row.score for row in decision.standings] == [None, None, None]


def test_requests_are_ranked_by_their_own_cost() -> None:
    def served(candidate: Candidate, value: float) -> Candidate:
        cost = Estimate(value=value, low=value * 0.99, high=value * 1.01)
        return candidate.model_copy(update={"costs": Costs(cost_per_million_served=cost)})

    decision = rank([served(GOOD, 1.0), served(FAST, 3.0)], {"kind": "cost", "per": "requests"})
    assert decision.winner == GOOD.label


@pytest.mark.parametrize("price", [None, 0.0])
def test_costs_without_a_price_are_refused(price: float | None) -> None:
    with pytest.raises(ValidationError, match="the objective cost needs a price"):
        DecisionSettings.model_validate({"objective": COST, "price_per_hour": price})
