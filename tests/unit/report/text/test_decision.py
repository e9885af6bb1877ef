"""The words of a decision: true to its numbers, the same on terminal and page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.core.config.decision_rules import LatencyLimit, QualityDrop, QualityFloor, Weights
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import Decision
from bakeoff.report.text import decision as decision_text
from bakeoff.report.text import objective
from judged import quality_of
from unit.outcomes import F1, RMSE

DecisionMaker = Callable[..., Decision]
CandidateMaker = Callable[..., Candidate]


def test_key_figures_of_a_winner_are_its_own_numbers_with_units_and_intervals(decision: Decision) -> None:
    row = decision.winning_standing
    assert row is not None
    f1, latency, score, best = decision_text.list_key_figures(decision)
    assert (f1.name, f1.value) == ("F1", f"{quality_of(row).value:.3f}")
    assert f1.note == f"95% interval [{quality_of(row).low:.3f}, {quality_of(row).high:.3f}]"
    assert (latency.name, latency.unit) == ("p50 latency, batch size 1", "ms")
    assert latency.value == f"{row.latency_ms.value:.2f}"
    assert score.note.endswith("; the reference has 1")
    assert best.note == "of 400 resamples of documents and timings"


def test_a_winner_that_is_the_reference_is_said_to_be(alone: Decision) -> None:
    score = decision_text.list_key_figures(alone)[2]
    assert (score.value, score.note) == ("1.000", "95% interval [1.000, 1.000]; it is the reference itself")


def test_key_figures_without_a_winner_span_those_whom_they_are_about(tie: Decision, nobody: Decision) -> None:
    first, f1, latency = decision_text.list_key_figures(tie)
    assert (first.name, first.value, first.note) == ("Tied", "2", "of 3 candidates")
    assert (f1.value, f1.note) == (f"{quality_of(tie.standings[0]).value:.3f}", "among the tied")
    assert (latency.note, latency.unit) == ("among the tied", "ms")
    first, f1, latency = decision_text.list_key_figures(nobody)
    assert (first.name, first.value, first.note) == ("Meet every constraint", "0", "of 6 candidates")
    values = sorted(quality_of(row).value for row in nobody.standings)
    assert f1.value == f"{values[0]:.3f}–{values[-1]:.3f}"
    assert latency.note == "among all"


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"kind": "memory", "at_most_bytes": 512 * 2**20}, "memory ≤ 512 MiB"),
        ({"kind": "memory", "at_most_bytes": 3 * 2**29}, "memory ≤ 1.50 GiB"),
        ({"kind": "throughput", "at_least_per_s": 250}, "throughput ≥ 250 documents/s"),
        ({"kind": "server_rate", "at_least_per_s": 12.5}, "server rate ≥ 12.5 requests/s"),
    ],
)
def test_limits_beside_time_are_told_with_their_units(limit: dict[str, object], words: str) -> None:
    (constraint,) = DecisionSettings.model_validate({"constraints": [limit]}).constraints
    assert decision_text.describe_constraint(constraint, F1) == words


def test_the_trade_off_compares_the_winner_with_the_most_accurate_and_the_fastest(
    make_decision: DecisionMaker, make_candidate: CandidateMaker
) -> None:
    decision = make_decision(
        [
            make_candidate("middle", "r", 0.80, 5.0),
            make_candidate("fine", "r", 0.84, 50.0),
            make_candidate("quick", "r", 0.50, 4.0),
        ]
    )
    rows = {row.backbone: row for row in decision.standings}
    assert decision.winner == "middle × r"
    finest, fastest = decision_text.describe_trade_off(decision)
    more = quality_of(rows["fine"]).value - quality_of(rows["middle"]).value
    slower = rows["fine"].latency_ms.value / rows["middle"].latency_ms.value
    assert finest == (
        f"The most accurate of the others, fine × r, has {more:.3f} more F1 and is {slower:.2f}× slower."
        if slower < 10
        else f"The most accurate of the others, fine × r, has {more:.3f} more F1 and is {slower:.1f}× slower."
    )
    less = quality_of(rows["middle"]).value - quality_of(rows["quick"]).value
    faster = rows["middle"].latency_ms.value / rows["quick"].latency_ms.value
    assert fastest == (
        f"The fastest of the others, quick × r, has {less:.3f} less F1 and is {faster:.2f}× faster."
    )


def test_twins_have_the_same_f1_and_are_as_fast(make_decision: DecisionMaker, field: list[Candidate]) -> None:
    twins = [field[1], field[1].model_copy(update={"backbone": "minilm-twin"})]
    decision = make_decision(twins, when_tied="fastest")
    assert decision.outcome == "winner"
    (sentence,) = decision_text.describe_trade_off(decision)
    assert sentence.endswith(", has the same F1 and is as fast.")
    assert sentence.startswith("The most accurate and fastest of the others, ")


def test_there_is_no_trade_off_without_a_winner_or_without_others(
    tie: Decision, nobody: Decision, alone: Decision
) -> None:
    assert [decision_text.describe_trade_off(made) for made in (tie, nobody, alone)] == [(), (), ()]


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ((0.8, 0.2), "One percent more F1 is worth 4.1% more latency."),
        ((0.9, 0.1), "One percent more F1 is worth 9.4% more latency."),
        ((1, 1), "One percent more F1 is worth 1.0% more latency."),
        ((0.001, 0.999), "One percent more F1 is worth <0.1% more latency."),
        ((0.99, 0.01), "One percent more F1 is worth 2.7 times the latency."),
        ((1, 0), "Only F1 counts; latency does not."),
        ((0, 3), "Only latency counts; F1 does not."),
    ],
)
def test_the_exchange_rate_is_what_the_score_says(weights: tuple[float, float], sentence: str) -> None:
    made = Weights(quality=weights[0], latency=weights[1])
    assert objective.explain_exchange_rate(made, F1) == sentence


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_any_weights_can_be_explained(quality: float, latency: float) -> None:
    if quality + latency > 0:
        assert objective.explain_exchange_rate(Weights(quality=quality, latency=latency), F1).endswith(".")


def test_the_score_worked_out_gives_the_score(decision: Decision) -> None:
    for row in decision.standings:
        text = objective.explain_score(decision, row)
        f1, f1_reference, share, ms_reference, ms, rest, score = map(
            float, re.findall(r"\d+(?:\.\d+)?", text)
        )
        assert share + rest == pytest.approx(1)
        worked_out = (f1 / f1_reference) ** share * (ms_reference / ms) ** rest
        assert worked_out == pytest.approx(score, rel=0.01)
        assert row.score is not None
        assert math.isclose(score, row.score.value, abs_tol=0.0005)


def test_constraints_are_named_with_quantity_place_limit_and_unit() -> None:
    latency = LatencyLimit(kind="latency", batch_size=8, quantile=0.999, at_most_ms=12.5)
    assert decision_text.describe_constraint(latency, F1) == "p99.9 at batch size 8 ≤ 12.5 ms"
    assert decision_text.describe_constraint(QualityFloor(kind="quality", at_least=0.5), F1) == "F1 ≥ 0.5"


def test_reasons_are_sentences_and_names_keep_their_letters(
    make_decision: DecisionMaker, nobody: Decision
) -> None:
    left_out = "minilm-l12 × torch-fp32: no latency measurement"
    decision = make_decision(None, [left_out])
    first, second = decision_text.list_reasons(decision)
    assert first.startswith(f"{decision.winner} has the best score")
    assert second == f"{left_out}."
    assert decision_text.list_reasons(nobody) == ("No candidate meets every constraint.",)


def test_what_is_undecided_has_a_best_so_far_in_the_headline(
    make_decision: DecisionMaker, make_candidate: CandidateMaker
) -> None:
    candidates = [make_candidate("a", "r", 0.84, 8.0), make_candidate("b", "r", 0.70, 3.0)]
    decided = make_decision(candidates)
    floor = next(quality_of(row).value for row in decided.standings if row.backbone == "b")
    decision = make_decision(candidates, constraints=[{"kind": "quality", "at_least": floor}])
    assert (decision.outcome, decision.winner) == ("undecided", None)
    assert decision_text.headline(decision).startswith(f"Best so far: {decision.best_so_far} (")
    assert decision_text.headline(decision) in decision_text.describe_finding(decision)
    assert not decision.is_pass


def test_a_limit_that_a_busy_machine_leaves_open_is_in_the_headline(
    make_decision: DecisionMaker, make_candidate: CandidateMaker
) -> None:
    candidates = [
        make_candidate(name, "r", f1, ms).replace(is_contended=True)
        for name, f1, ms in (("a", 0.84, 80.0), ("b", 0.70, 60.0))
    ]
    decision = make_decision(candidates, constraints=[{"kind": "latency", "at_most_ms": 50}])
    found = decision_text.headline(decision)
    assert found == f"Best so far: {decision.best_so_far} (machine too busy for the 50 ms limit)"
    reasons = " ".join(decision_text.list_reasons(decision))
    assert "measure again when the machine is quiet" in reasons


def test_limits_of_an_error_are_ceilings() -> None:
    floor = QualityFloor(kind="quality", at_most=2.5)
    assert decision_text.describe_constraint(floor, RMSE) == "RMSE ≤ 2.5"
    drop = QualityDrop(kind="quality_drop", at_most=0.5)
    assert decision_text.describe_constraint(drop, RMSE) == "RMSE ≤ production + 0.5"
    assert decision_text.describe_constraint(drop, F1) == "F1 ≥ production - 0.5"


def test_an_error_is_told_by_its_name_and_the_most_accurate_has_the_least(errors: Decision) -> None:
    winner, *others = errors.standings
    nearer, far = (next(row for row in others if row.backbone == name) for name in ("nearer", "far-off"))
    first, second = decision_text.describe_trade_off(errors)
    more = quality_of(nearer).value - quality_of(winner).value
    assert first.startswith(
        f"The most accurate of the others, {nearer.label}, has {more:.2f} more RMSE and is "
    )
    assert second.startswith(f"The fastest of the others, {far.label}, has ")
    assert objective.explain_objective(errors) == (
        "Score = (RMSE of the reference / RMSE)^0.8 × (latency of the reference / latency)^0.2.",
        "One percent less RMSE is worth 4.1% more latency.",
    )
    above, below, share, *_ = map(float, re.findall(r"\d+(?:\.\d+)?", objective.explain_score(errors, far)))
    assert share == 0.8
    assert above == pytest.approx(quality_of(winner).value, abs=0.01)
    assert below == pytest.approx(quality_of(far).value, abs=0.1)


def test_a_threshold_of_an_error_lies_above_the_most_accurate(errors: Decision) -> None:
    rule = DecisionSettings.model_validate(
        {"metric": "rmse", "objective": {"kind": "lexicographic", "accuracy_threshold": 2}}
    )
    (sentence,) = objective.explain_objective(errors.replace(settings=rule))
    assert sentence.endswith("among those at most 2 RMSE above the most accurate.")
