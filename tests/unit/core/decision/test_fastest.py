"""Decisions by speed alone: the same rules of certainty, with quality, without it, and with it for some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate, assemble_candidates
from bakeoff.core.decision.decide import Decision, decide, read_decision
from bakeoff.core.decision.production import Production
from bakeoff.core.tables import tabulate_decision
from bakeoff.disk.sealed import seal_json
from bakeoff.errors import CannotTellError
from bakeoff.measure.tasks import Tensors
from unit.core.field import FEW, make_candidate, make_latency, order_of, rule, score_of, standing_of
from unit.report.measured import measure_field

FASTEST = {"kind": "fastest"}
QUICK, MIDDLE, SLOW = (
    make_candidate(name, recall, ms)
    for name, recall, ms in (("quick", 0.6, 2.0), ("mid", 0.7, 4.0), ("slow", 0.9, 8.0))
)
FLOOR = {"kind": "quality", "at_least": 0.69}


def blind(candidate: Candidate, **changes: Any) -> Candidate:
    """The same candidate without a quality measurement."""
    missing = {"outcomes": None, "quality_inputs_digest": "", "benchmark_keys": candidate.benchmark_keys[1:]}
    return candidate.replace(**missing | changes)


def hurry(candidates: Sequence[Candidate], **changes: Any) -> Decision:
    return rule(candidates, objective=FASTEST, **changes)


def test_the_fastest_wins_and_the_score_is_the_speed_against_the_reference() -> None:
    decision = hurry([SLOW, QUICK, MIDDLE])
    assert (decision.winner, decision.how) == (QUICK.label, "clear")
    assert order_of(decision) == ["quick", "mid", "slow"]
    assert decision.reasons == (f"{QUICK.label} is the fastest (best in 100.0% of resamples)",)
    assert score_of(decision, "slow").value == 1.0
    assert score_of(decision, "quick").value == pytest.approx(4.0, rel=0.05)
    reason = standing_of(decision, "slow").reason
    assert reason.startswith(f"beaten by {QUICK.label} (takes +")
    assert reason.endswith("more time)")
    assert decision.sensitivity == ()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.5, 500.0), min_size=1, max_size=5),
    st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5),
)
def test_the_order_is_that_of_the_latencies_whatever_the_quality(
    times_ms: list[float], recalls: list[float]
) -> None:
    field = [make_candidate(f"c{n}", recalls[n], ms) for n, ms in enumerate(times_ms)]
    decision = hurry(field)
    shown = [row.latency_ms.value for row in decision.standings]
    assert shown == sorted(shown)
    assert decision.standings[0].latency_ms.value == min(shown)


@pytest.mark.parametrize("constraints", [[], [{"kind": "latency", "quantile": 0.5, "at_most_ms": 5.0}]])
def test_quality_changes_neither_place_nor_probability(constraints: list[dict[str, Any]]) -> None:
    field = [SLOW, QUICK, MIDDLE, make_candidate("twin", 0.8, latency={1: make_latency(2.0, 3)})]
    seen = hurry(field, constraints=constraints)
    unseen = hurry([blind(each) for each in field], constraints=constraints)
    kept = {"quality", "is_on_front", "benchmark_keys"}
    assert [row.model_dump(exclude=kept) for row in seen.standings] == [
        row.model_dump(exclude=kept) for row in unseen.standings
    ]
    assert (seen.outcome, seen.winner, seen.tie) == (unseen.outcome, unseen.winner, unseen.tie)


def test_a_decision_without_quality_says_so_and_is_read_as_it_was_written() -> None:
    decision = hurry([blind(SLOW), blind(QUICK)])
    assert decision.winner == QUICK.label
    assert decision.reasons[1] == "quality was not measured: this ranking is by speed alone"
    assert decision.without_quality == (QUICK.label, SLOW.label)
    assert not decision.has_quality
    assert [(row.quality, row.is_on_front) for row in decision.standings] == [(None, None)] * 2
    assert read_decision(seal_json(decision.model_dump(mode="json")), "decision.json") == decision
    assert tabulate_decision(decision).columns["quality"] == [None, None]


def test_a_task_without_metrics_is_decided_by_speed() -> None:
    decision = hurry([blind(each, task=Tensors(kind="tensors")) for each in (SLOW, QUICK)])
    assert (decision.winner, decision.metric) == (QUICK.label, None)
    assert tabulate_decision(decision).columns["metric"] == [None, None]


def test_candidates_with_and_without_quality_are_ranked_together() -> None:
    decision = hurry([SLOW, blind(QUICK), MIDDLE])
    assert order_of(decision) == ["quick", "mid", "slow"]
    assert decision.reasons[1] == f"the quality of {QUICK.label} was not measured"
    assert (decision.without_quality, decision.has_quality) == ((QUICK.label,), True)
    assert standing_of(decision, "quick").is_on_front is None
    both = hurry([SLOW, MIDDLE])
    for name in ("mid", "slow"):
        mine, alone = standing_of(decision, name), standing_of(both, name)
        assert (mine.quality, mine.is_on_front) == (alone.quality, alone.is_on_front)


def test_a_limit_on_quality_is_undecided_where_quality_is_missing() -> None:
    decision = hurry([SLOW, blind(QUICK), MIDDLE], constraints=[FLOOR])
    assert (decision.outcome, decision.best_so_far) == ("undecided", MIDDLE.label)
    (result,) = standing_of(decision, "quick").constraints
    assert (result.result, result.text) == ("cannot tell", "F1: not measured")
    assert decision.reasons[-2] == (
        "to settle it, measure quality (benchmark.scenarios), or change the constraint"
    )
    drop = {"kind": "quality_drop", "against": "reference", "at_most": 0.01}
    (result,) = standing_of(hurry([SLOW, blind(QUICK)], constraints=[drop]), "quick").constraints
    assert (result.result, result.text) == ("cannot tell", "F1 against reference: not measured")


def test_a_floor_makes_quality_count() -> None:
    assert hurry([SLOW, QUICK, MIDDLE], constraints=[FLOOR]).winner == MIDDLE.label


def test_only_repeats_break_a_tie_of_speed() -> None:
    one = make_candidate("one", latency={1: make_latency(5.00, 1)})
    two = make_candidate("two", latency={1: make_latency(5.02, 4)})
    decision = hurry([one, two])
    assert decision.outcome == "tie"
    assert decision.tie is not None
    assert (decision.tie.now.documents, decision.tie.now.repeats) == (None, 5)
    assert all(each.documents is None and each.repeats > 5 for each in decision.tie.enough)
    assert "documents" not in decision.reasons[1]
    assert hurry([one, two], when_tied="fastest").how == "tie broken by speed"


def test_the_distance_from_production_leaves_quality_out_where_it_is_missing() -> None:
    production = Production(
        model="m", version="3", benchmark_keys=QUICK.benchmark_keys, reason="", runtime=QUICK.runtime
    )
    made = DecisionSettings.model_validate({"resamples": FEW, "objective": FASTEST})
    decision = decide([blind(QUICK), SLOW], made, production=production)
    slow = standing_of(decision, "slow").versus_production
    assert slow is not None
    assert slow.quality is None
    assert slow.latency_ratio.value == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("kind", ["weighted", "lexicographic", "cost", "fastest"])
def test_only_the_objective_fastest_ranks_what_has_no_quality(kind: str) -> None:
    chosen = DecisionSettings.model_validate(
        {"resamples": FEW, "objective": {"kind": kind}, "price_per_hour": 1.0}
    )
    timed = [each for each in measure_field() if each.job.scenario.kind == "latency"]
    candidates, incomplete = assemble_candidates(timed, chosen)
    if kind == "fastest":
        assert len(candidates) == len(timed)
        assert decide(candidates, chosen, incomplete).winner is not None
    else:
        assert candidates == ()
        assert all(line.endswith(": no quality measurement") for line in incomplete)


def test_without_latency_nothing_is_ranked() -> None:
    chosen = DecisionSettings.model_validate({"objective": FASTEST})
    judged = [each for each in measure_field() if each.job.scenario.kind == "quality"]
    candidates, incomplete = assemble_candidates(judged, chosen)
    assert candidates == ()
    assert all(line.endswith(": no latency measurement") for line in incomplete)


def test_other_documents_matter_only_among_those_with_quality() -> None:
    other = SLOW.replace(quality_inputs_digest="r" * 64)
    assert hurry([blind(QUICK), other]).winner == QUICK.label
    with pytest.raises(CannotTellError, match="scored on different documents"):
        hurry([QUICK, other])
