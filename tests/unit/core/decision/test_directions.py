"""Directions: what less of is better is decided as what more of is better, mirrored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.config.parse import parse_settings
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.costs import Costs
from bakeoff.core.decision.decide import Decision, decide
from bakeoff.core.decision.production import Production
from bakeoff.core.decision.standings import Standing
from bakeoff.core.estimate import Estimate
from bakeoff.core.quality import measure_quality
from bakeoff.errors import CannotTellError, ConfigError
from bakeoff.measure.statistics.outcomes import outcomes_of, read_outcomes
from bakeoff.measure.tasks import Custom, Task, TextClassification, TextRegression
from judged import outcomes_in, quality_of
from unit.core.field import FEW, make_candidate, make_latency, standing_of
from unit.outcomes import predict_numbers

N = 150
# Score of a row, its mirror image at 10, and both as metrics: the mean of one is 10 minus that of the other.
MORE, LESS = (
    Custom(kind="custom", function="mirrors:score", name="marks", direction=direction, low=0, high=10)
    for direction in ("maximize", "minimize")
)
FASTER_IS_WORSE = {"one": (7.0, 9.0), "two": (6.9, 6.0), "three": (5.0, 3.0), "four": (6.95, 5.9)}


def score_rows(name: str, mean: float, task: Custom, scale: float = 1.0) -> Candidate:
    """A candidate with a score a row; the same rows are hard for all."""
    hard = np.random.default_rng(7).normal(0, 1, N)
    luck = np.random.default_rng(sum(map(ord, name))).normal(0, 0.3, N)
    scores = mean + hard + luck
    mirrored = scores if task.direction == "maximize" else 10 - scores
    outcomes = read_outcomes({"score": scale * mirrored})
    return make_candidate(name, task=task, outcomes=outcomes)


def make_field(task: Custom) -> list[Candidate]:
    return [
        score_rows(name, mean, task).replace(latency={1: make_latency(ms, len(name))})
        for name, (mean, ms) in FASTER_IS_WORSE.items()
    ]


def judge(candidates: Sequence[Candidate], production: str | None = None, **more: Any) -> Decision:
    known = Production(model="m", version="1", benchmark_keys=(f"{production}:quality",))
    made = DecisionSettings.model_validate({"resamples": FEW} | more)
    return decide(candidates, made, production=known if production else None)


def anchor(zero: float, one: float, share: float = 0.5) -> dict[str, Any]:
    quality = {"zero": zero, "one": one}
    anchors = {"quality": quality, "latency_ms": {"zero": 20, "one": 1}}
    weights = {"quality": share, "latency": 1 - share}
    return {"kind": "weighted", "weights": weights, "anchors": anchors}


MIRRORED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"objective": anchor(2, 8)}, {"objective": anchor(8, 2)}),
    ({"objective": anchor(2, 8, 0.95)}, {"objective": anchor(8, 2, 0.95)}),
    *(
        2 * ({"objective": {"kind": "lexicographic", "accuracy_threshold": threshold}},)
        for threshold in (0.0, 0.1, 0.5, 3.0)
    ),
    (
        {"objective": anchor(2, 8), "constraints": [{"kind": "quality", "at_least": 6.5}]},
        {"objective": anchor(8, 2), "constraints": [{"kind": "quality", "at_most": 3.5}]},
    ),
    (
        {"objective": anchor(2, 8), "constraints": [{"kind": "quality_drop", "at_most": 0.3}]},
        {"objective": anchor(8, 2), "constraints": [{"kind": "quality_drop", "at_most": 0.3}]},
    ),
]


@pytest.mark.parametrize(("ours", "mirrored"), MIRRORED)
def test_less_is_better_gives_the_mirror_image_of_more_is_better(
    ours: dict[str, Any], mirrored: dict[str, Any]
) -> None:
    one, other = (
        judge(make_field(task), production="two", **rules) for task, rules in ((MORE, ours), (LESS, mirrored))
    )
    assert (one.outcome, one.winner, one.how, one.tie) == (other.outcome, other.winner, other.how, other.tie)
    assert [_facts(row) for row in one.standings] == [_facts(row) for row in other.standings]
    for left, right in zip(one.standings, other.standings, strict=True):
        assert quality_of(left).value == pytest.approx(10 - quality_of(right).value)
        assert left.versus_production is not None
        assert right.versus_production is not None
        assert quality_of(left.versus_production).value == pytest.approx(
            -quality_of(right.versus_production).value
        )
        assert left.score is not None
        assert right.score is not None
        assert left.score.value == pytest.approx(right.score.value)
    turns = [
        (each.leader, each.low and each.low.leader, each.high and each.high.leader)
        for each in one.sensitivity
    ]
    assert turns == [
        (each.leader, each.low and each.low.leader, each.high and each.high.leader)
        for each in other.sensitivity
    ]


def _facts(row: Standing) -> tuple[Any, ...]:
    results = [each.result for each in row.constraints]
    return row.label, row.place, row.is_on_front, row.within, row.p_best, results


def test_the_score_of_an_error_is_that_of_its_inverse() -> None:
    """A ratio of errors is the inverse ratio of what is as many times better."""
    scores = {"one": (4.0, 9.0), "two": (4.1, 6.0), "three": (7.0, 3.0)}

    def field(task: Custom, scores_of: Callable[[float], float]) -> list[Candidate]:
        return [
            make_candidate(
                name,
                task=task,
                outcomes=read_outcomes({"score": np.full(20, scores_of(error))}),
                latency={1: make_latency(ms, len(name))},
            )
            for name, (error, ms) in scores.items()
        ]

    rules: dict[str, Any] = {"objective": {"kind": "weighted", "weights": {"quality": 0.7, "latency": 0.3}}}
    error, inverse = judge(field(LESS, lambda e: e), **rules), judge(field(MORE, lambda e: 10 / e), **rules)
    assert [row.label for row in error.standings] == [row.label for row in inverse.standings]
    for left, right in zip(error.standings, inverse.standings, strict=True):
        assert left.score is not None
        assert right.score is not None
        assert left.score.value == pytest.approx(right.score.value)


def make_regression(name: str, error: float, ms: float, scale: float = 1.0, n: int = N) -> Candidate:
    target = np.random.default_rng(1).normal(0, 2, n)
    hard = np.random.default_rng(2).normal(0, 1, n)
    luck = np.random.default_rng(sum(map(ord, name))).normal(0, 0.3, n)
    outcomes = predict_numbers(scale * (target + error * (hard + luck)), scale * target)
    latency = {1: make_latency(ms, len(name))}
    return make_candidate(name, task=TextRegression(), outcomes=outcomes, latency=latency)


def regressions(scale: float = 1.0) -> list[Candidate]:
    return [
        make_regression("close", 0.30, 9.0, scale),
        make_regression("near", 0.36, 5.0, scale),
        make_regression("far", 0.90, 3.0, scale),
    ]


def test_the_least_error_wins_whatever_the_objective_says_of_speed() -> None:
    for metric in ("rmse", "mae", "pearson", "spearman"):
        objective = {"kind": "weighted", "weights": {"quality": 1, "latency": 0}}
        decision = judge(regressions(), metric=metric, objective=objective)
        assert decision.winner == "close × torch-fp32", metric
        assert decision.metric is not None
        assert decision.metric.name == metric
        assert [row.backbone for row in decision.standings] == ["close", "near", "far"]


@settings(max_examples=15)
@given(st.integers(-9, 9))
def test_a_decision_about_an_error_does_not_depend_on_the_unit_of_the_target(power: int) -> None:
    plain, scaled = (judge(regressions(scale), metric="rmse") for scale in (1.0, 2.0**power))
    assert [_facts(row) for row in plain.standings] == [_facts(row) for row in scaled.standings]
    for left, right in zip(plain.standings, scaled.standings, strict=True):
        assert left.score is not None
        assert right.score is not None
        assert left.score.value == pytest.approx(right.score.value)


def test_a_perfect_model_beats_all_by_score_and_costs_no_warning() -> None:
    perfect = make_regression("perfect", 0.0, 30.0)
    decision = judge([*regressions(), perfect], metric="rmse")
    assert decision.winner == perfect.label
    assert all(math.isfinite(row.score.value) for row in decision.standings if row.score)


def test_a_decision_does_not_depend_on_the_name_of_the_metric() -> None:
    renamed = MORE.replace(name="points")
    one, other = (judge(make_field(task), objective=anchor(2, 8)) for task in (MORE, renamed))
    kept = {"metric", "settings", "inputs_digest"}
    assert one.model_dump(exclude=kept) == other.model_dump(exclude=kept)
    assert [each.metric and each.metric.name for each in (one, other)] == ["marks", "points"]


@pytest.mark.parametrize("scale", [1.0, 1e7, 1e-7])
def test_outsiders_come_last_however_large_the_metric_is(scale: float) -> None:
    wide = MORE.replace(low=None, high=None)
    field = [
        score_rows(name, mean, wide, scale).replace(latency={1: make_latency(ms, len(name))})
        for name, (mean, ms) in FASTER_IS_WORSE.items()
    ]
    objective = {"kind": "lexicographic", "accuracy_threshold": 0.3 * scale}
    decision = judge(field, objective=objective)
    assert decision.standings[-1].backbone == "three"
    assert decision.standings[-1].within == "outside"
    assert decision.standings[0].within == "within"


@pytest.mark.parametrize(("most", "result"), [(0.31, "failed"), (0.6, "met")])
def test_a_ceiling_is_held_against_the_upper_end_of_the_interval(most: float, result: str) -> None:
    limit = {"kind": "quality", "at_most": most}
    decision = judge(regressions(), metric="rmse", constraints=[limit])
    found = standing_of(decision, "near").constraints[0]
    assert found.result == result
    assert found.text.startswith("RMSE: 0.3")
    assert found.text.endswith(f"≤ {most:g}")


def test_an_error_may_rise_by_as_much_as_a_share_may_fall() -> None:
    limit = {"kind": "quality_drop", "against": "reference", "at_most": 0.2}
    decision = judge(regressions(), metric="rmse", constraints=[limit])
    results = {row.backbone: row.constraints[0] for row in decision.standings}
    assert {name: each.result for name, each in results.items()} == {
        "close": "met",
        "near": "met",
        "far": "failed",
    }
    assert results["far"].text.startswith("RMSE against reference: +0.5")
    assert results["far"].text.endswith("≤ 0.2")


def test_a_relative_threshold_is_a_share_of_the_least_error() -> None:
    def within(threshold: float) -> list[str | None]:
        objective = {
            "kind": "lexicographic",
            "accuracy_threshold": threshold,
            "threshold_scale": "relative",
        }
        decision = judge(regressions(), metric="rmse", objective=objective)
        return [standing_of(decision, name).within for name in ("close", "near", "far")]

    assert within(0.05) == ["within", "outside", "outside"]
    assert within(0.40) == ["within", "within", "outside"]


def test_a_negative_correlation_is_its_own_best_within_a_relative_threshold() -> None:
    task = TextRegression()
    flipped = [
        each.replace(
            outcomes=read_outcomes(
                {
                    name: -column if name == "target" else column
                    for name, column in outcomes_of(outcomes_in(each)).items()
                }
            )
        )
        for each in regressions()
    ]
    assert measure_quality(outcomes_in(flipped[0]), task.metrics["pearson"]) < 0
    objective = {"kind": "lexicographic", "accuracy_threshold": 0.001, "threshold_scale": "relative"}
    decision = judge(flipped, metric="pearson", objective=objective)
    assert decision.standings[0].within in {"within", "may be within"}


def test_a_correlation_of_0_or_less_has_no_ratio_and_the_way_out_works() -> None:
    wrong = make_regression("wrong", -1.0, 1.0)
    columns = outcomes_of(outcomes_in(wrong))
    wrong = wrong.replace(outcomes=predict_numbers(-columns["target"], columns["target"]))
    with pytest.raises(CannotTellError) as caught:
        judge([*regressions(), wrong], metric="spearman")
    assert str(caught.value) == (
        "wrong × torch-fp32: Spearman's ρ is -1, and a score without anchors needs values above 0; set "
        "decision.objective.anchors, or the objective lexicographic"
    )
    anchored = judge([*regressions(), wrong], metric="spearman", objective=anchor(0.5, 1, 0.9))
    assert anchored.standings[-1].label == wrong.label
    ordered = judge([*regressions(), wrong], metric="spearman", objective={"kind": "lexicographic"})
    assert ordered.standings[-1].label == wrong.label
    weights = {"quality": 0, "latency": 1}
    by_speed = {"kind": "weighted", "weights": weights}
    assert judge([*regressions(), wrong], metric="spearman", objective=by_speed).winner == wrong.label


@pytest.mark.parametrize("metric", ["rmse", "mae", "spearman", "pearson"])
def test_so_many_documents_as_are_said_to_be_enough_break_the_tie(metric: str) -> None:
    objective = {"kind": "weighted", "weights": {"quality": 1, "latency": 0}}
    one, two = make_regression("one", 0.50, 5.0), make_regression("two", 0.505, 5.0)
    rules: dict[str, Any] = {"metric": metric, "objective": objective, "resamples": 1000}
    tied = judge([one, two], **rules)
    assert tied.outcome == "tie"
    assert tied.tie is not None
    n_documents = tied.tie.enough[0].documents
    assert n_documents is not None
    times = -(-n_documents // N)
    if times < 60:
        assert (
            judge([_repeat(each, times + times // 4 + 1) for each in (one, two)], **rules).outcome == "winner"
        )
    assert judge([_repeat(each, max(1, times // 3)) for each in (one, two)], **rules).outcome == "tie"


def _repeat(candidate: Candidate, times: int) -> Candidate:
    outcomes = {name: np.tile(column, times) for name, column in outcomes_of(outcomes_in(candidate)).items()}
    return candidate.replace(outcomes=read_outcomes(outcomes))


def test_the_ceiling_of_a_cheapest_model_can_fall_to_the_end_of_its_interval() -> None:
    rules: dict[str, Any] = {"metric": "rmse", "objective": {"kind": "cost"}, "price_per_hour": 1.0}

    def price(candidate: Candidate, value: float) -> Candidate:
        money = Estimate(value=value, low=0.99 * value, high=1.01 * value)
        return candidate.replace(costs=Costs(price_per_hour=1.0, cost_per_million=money))

    field = [price(each, value) for each, value in zip(regressions(), (9.0, 5.0, 3.0), strict=True)]
    decision = judge(field, **rules)
    assert decision.winner == "far × torch-fp32"
    moved = {each.moved: each for each in decision.sensitivity}["quality ceiling"]
    assert (moved.value, moved.high) == (None, None)
    assert moved.low is not None
    assert moved.low.leader == "near × torch-fp32"
    high = quality_of(standing_of(decision, "far")).high
    assert moved.low.at == high
    below = judge(field, **rules, constraints=[{"kind": "quality", "at_most": moved.low.at * 0.999}])
    assert (below.winner, below.best_so_far) == (None, "near × torch-fp32")


def test_candidates_of_different_tasks_are_not_ranked_together() -> None:
    with pytest.raises(CannotTellError, match=r"different tasks \(text_regression, token_classification\)"):
        judge([make_regression("one", 0.5, 5.0), make_candidate("two")])


SINGLE = TextClassification()


@pytest.mark.parametrize(
    ("task", "decision", "line"),
    [
        (
            TextRegression(),
            {"metric": "f1"},
            "decision.metric: found 'f1'; the metrics of text_regression are spearman, pearson, rmse, mae",
        ),
        (
            TextRegression(),
            {"metric": "rmse", "constraints": [{"kind": "quality", "at_least": 0.5}]},
            "decision.constraints.0.at_least: found 0.5; set at_most instead: less RMSE is better",
        ),
        (
            SINGLE,
            {"constraints": [{"kind": "quality", "at_least": 90}]},
            "decision.constraints.0.at_least: found 90.0; accuracy is at least 0 and at most 1",
        ),
        (
            SINGLE,
            {"metric": "mcc", "objective": anchor(0.9, 0.5)},
            "decision.objective.anchors.quality.one: found 0.5; set `one` above `zero`: more MCC is better",
        ),
        (
            TextRegression(),
            {"metric": "mae", "objective": anchor(0.5, 0.9)},
            "decision.objective.anchors.quality.one: found 0.9; set `one` below `zero`: less MAE is better",
        ),
        (
            SINGLE,
            {"objective": {"kind": "lexicographic", "accuracy_threshold": 1}},
            "decision.objective.accuracy_threshold: found 1.0; set it below 1, the range of accuracy",
        ),
    ],
)
def test_rules_that_do_not_fit_the_metric_are_one_clear_line(
    task: Task, decision: dict[str, Any], line: str
) -> None:
    sections = {
        "hpo": ("hpo.yaml", "backbones: {a: {}}"),
        "data": ("data.yaml", json.dumps({"task": task.model_dump(mode="json")})),
        "decision": ("decision.yaml", json.dumps(decision)),
    }
    with pytest.raises(ConfigError) as refused:
        parse_settings(sections)
    (told,) = str(refused.value).splitlines()[-1:]
    assert told.endswith(line)
    assert told.startswith("decision.yaml:1:")
    candidate = make_regression("one", 0.5, 5.0) if isinstance(task, TextRegression) else _classify("one")
    with pytest.raises(CannotTellError) as caught:
        judge([candidate], **decision)
    assert str(caught.value) == line


def _classify(name: str) -> Candidate:
    labels = np.arange(30.0) % 2
    return make_candidate(
        name, task=SINGLE, outcomes=read_outcomes({"predicted": labels, "actual": np.ones(30)})
    )


def test_a_limit_of_quality_has_one_side() -> None:
    for limit in ({}, {"at_least": 0.5, "at_most": 0.6}):
        with pytest.raises(ValueError, match="exactly one of `at_least` and `at_most`"):
            DecisionSettings.model_validate({"constraints": [{"kind": "quality", **limit}]})
