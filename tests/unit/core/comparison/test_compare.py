"""Two candidates beside each other: quantities, verdicts, and what the gate makes of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bakeoff.core.comparison.compare import Comparison, compare
from bakeoff.core.comparison.gate import ComparisonSettings, MetricComparison, Side
from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Flag
from bakeoff.errors import UserError
from bakeoff.measure.statistics.readings import Reading
from bakeoff.measure.tasks import TextRegression
from unit.outcomes import predict_numbers

from ..measured import Bench

MIRRORED = {"better": "worse", "worse": "better", "equivalent": "equivalent", "cannot tell": "cannot tell"}
CONTENDED = Flag(name="contended", detail="90% of the rounds", invalidates=True)


@pytest.fixture
def bench(make_job: Callable[..., Job], make_environment: Callable[..., Environment]) -> Bench:
    return Bench(make_job, make_environment)


@pytest.fixture
def side(bench: Bench) -> Callable[..., Side]:
    def make(name: str, ms: float = 8.0, hits: Callable[[int], int] = lambda _: 3, **changes: Any) -> Side:
        seed = sum(map(ord, name))
        return Side(name, (bench.latency(name, ms, seed=seed, **changes), bench.quality(name, hits)))

    return make


def put(baseline: Side, candidate: Side, **settings: Any) -> Comparison:
    return compare([baseline], [candidate], ComparisonSettings(**settings))


def line_of(found: Comparison, metric: str) -> MetricComparison:
    (line,) = (line for line in found.pairs[0].lines if line.metric == metric)
    return line


def gates(found: Comparison) -> dict[str, str | None]:
    return {line.metric: line.gate for line in found.pairs[0].lines}


@pytest.mark.parametrize(
    ("ms", "verdict", "gate", "outcome"),
    [
        (8.0, "equivalent", "pass", "pass"),
        (6.0, "better", "pass", "pass"),
        (8.24, "worse", "pass", "pass"),
        (8.4, "worse", "cannot tell", "cannot tell"),
        (9.6, "worse", "fail", "fail"),
    ],
)
def test_a_candidate_passes_fails_or_stays_open_by_its_whole_interval(
    side: Callable[..., Side], ms: float, verdict: str, gate: str, outcome: str
) -> None:
    found = put(side("a"), side("b", ms))
    line = line_of(found, "latency")
    assert (line.verdict, line.gate, found.outcome) == (verdict, gate, outcome)
    assert line.change is not None
    assert line.change.low < ms / 8 < (line.change.high or 0)


@pytest.mark.parametrize("ms", [6.0, 8.0, 8.4, 12.0])
def test_swapping_the_sides_inverts_the_ratio_and_mirrors_every_verdict(
    side: Callable[..., Side], ms: float
) -> None:
    a, b = side("a"), side("b", ms, lambda number: 3 + number % 2)
    plain, swapped = put(a, b), put(b, a)
    for metric in ("latency", "quality"):
        line, turned = line_of(plain, metric), line_of(swapped, metric)
        assert turned.verdict == MIRRORED[line.verdict]
        assert line.change is not None
        assert turned.change is not None
        assert (line.baseline, line.candidate) == (turned.candidate, turned.baseline)
    ratio, turned_ratio = (line_of(each, "latency").change for each in (plain, swapped))
    points, turned_points = (line_of(each, "quality").change for each in (plain, swapped))
    assert ratio
    assert turned_ratio
    assert points
    assert turned_points
    assert (turned_ratio.value, turned_ratio.low) == pytest.approx((1 / ratio.value, 1 / (ratio.high or 0)))
    assert (turned_points.value, turned_points.low) == pytest.approx((-points.value, -(points.high or 0)))


def test_quality_is_paired_by_document_so_that_a_small_loss_of_every_document_is_seen(
    side: Callable[..., Side],
) -> None:
    """Documents differ far more than candidates: the intervals of F1 overlap, that of the loss is sure."""
    uneven = side("a", hits=lambda number: 1 + number % 4)
    worse = side("b", hits=lambda number: number % 4)
    line = line_of(put(uneven, worse), "quality")
    assert (line.verdict, line.gate, line.basis) == ("worse", "fail", "same documents")
    assert line.change is not None
    assert (line.change.value, line.change.low, line.change.high) == pytest.approx((-25.0, -25.0, -25.0))
    passing = line_of(put(uneven, worse, quality_margin=25.1), "quality")
    assert (passing.verdict, passing.gate) == ("worse", "pass")


TARGETS = np.random.default_rng(0).normal(100, 20, 80)


def regression(bench: Bench, name: str, error: float) -> Side:
    """A regression whose errors all have one size, so that its RMSE and MAE are that size."""
    found = predict_numbers(TARGETS + error * np.where(np.arange(80) % 2, 1, -1), TARGETS)
    return Side(name, (bench.outcomes(name, found, task=TextRegression()),))


@pytest.mark.parametrize(
    ("error", "margin", "verdict", "gate"),
    [
        (5.0, None, "better", "pass"),
        (10.0, None, "equivalent", "pass"),
        (12.0, None, "worse", "fail"),
        (12.0, 2.5, "worse", "pass"),
        (12.0, 1.5, "worse", "fail"),
    ],
)
def test_an_error_is_compared_in_its_units_and_less_of_it_is_better(
    bench: Bench, error: float, margin: float | None, verdict: str, gate: str
) -> None:
    settings = {"quality_metric": "rmse", "quality_margin": margin, "metrics": ("quality",)}
    line = line_of(put(regression(bench, "a", 10.0), regression(bench, "b", error), **settings), "quality")
    assert (line.what, line.scale, line.verdict, line.gate) == ("quality, RMSE", "units", verdict, gate)
    assert line.change is not None
    assert line.change.value == pytest.approx(error - 10.0)
    told = "no loss is allowed; set --quality-margin in units of RMSE to allow some"
    assert line.remark == (told if margin is None else "")


def test_each_metric_of_the_task_can_be_compared_and_no_other(
    bench: Bench, side: Callable[..., Side]
) -> None:
    line = line_of(put(side("a"), side("b"), quality_metric="recall"), "quality")
    assert (line.what, line.scale, line.margin) == ("quality, recall", "points", 1.0)
    assert line_of(put(side("a"), side("b")), "quality").what == "quality, F1"
    with pytest.raises(UserError) as caught:
        put(side("a"), side("b"), quality_metric="rmse")
    assert str(caught.value) == (
        "quality metric: found 'rmse'; the metrics of token_classification are f1, precision, recall, "
        "macro_f1, token_accuracy"
    )
    mixed = put(side("a"), regression(bench, "b", 1.0), metrics=("quality",))
    assert line_of(mixed, "quality").remark == "different tasks: token_classification and text_regression"
    assert mixed.outcome == "cannot tell"


def test_quality_on_other_documents_is_not_paired(side: Callable[..., Side], bench: Bench) -> None:
    other = Side("b", (bench.quality("b", lambda _: 3, inputs_digest="9" * 64),))
    found = put(side("a"), other, metrics=("quality",))
    assert (found.outcome, line_of(found, "quality").remark) == (
        "cannot tell",
        "scored on different documents: they cannot be paired",
    )


def test_a_contended_measurement_never_passes_and_never_fails(side: Callable[..., Side]) -> None:
    for ms in (4.0, 8.0, 16.0):
        found = put(side("a"), side("b", ms, flags=(CONTENDED,)))
        assert found.outcome == "cannot tell"
        line = line_of(found, "latency")
        assert line.change is not None
        assert "too busy" in line.remark


def test_a_failure_counts_even_where_another_quantity_cannot_be_told(side: Callable[..., Side]) -> None:
    found = put(side("a"), side("b", flags=(CONTENDED,), hits=lambda _: 1))
    assert gates(found) == {"latency": "cannot tell", "quality": "fail"}
    assert found.outcome == "fail"


def test_what_one_side_lacks_is_told_and_never_passes(side: Callable[..., Side]) -> None:
    whole = side("a")
    found = put(whole, Side("b", whole.measurements[1:]))
    assert gates(found) == {"latency": "cannot tell", "quality": "pass"}
    assert (found.outcome, line_of(found, "latency").remark) == ("cannot tell", "b: no latency measurement")


def test_a_batch_size_that_was_not_measured_is_told_with_those_that_were(side: Callable[..., Side]) -> None:
    line = line_of(put(side("a"), side("b"), batch_size=64), "latency")
    assert (line.gate, line.remark) == ("cannot tell", "a: batch size 64 is not measured (measured: 1)")


def test_only_what_is_asked_for_is_gated(side: Callable[..., Side]) -> None:
    slower = put(side("a"), side("b", 16.0), metrics=("quality",))
    assert gates(slower) == {"latency": None, "quality": "pass"}
    assert slower.outcome == "pass"


@pytest.mark.parametrize(("grown", "gate"), [(1.0, "pass"), (1.04, "pass"), (1.06, "fail")])
def test_size_is_gated_where_it_is_asked_for(side: Callable[..., Side], grown: float, gate: str) -> None:
    sides = []
    for name, size in (("a", 1e6), ("b", 1e6 * grown)):
        one = side(name)
        latency = one.measurements[0]
        size_reading = Reading(quantity="model_size", unit="bytes", values=(size,), repeats=(0,))
        sized = latency.model_copy(update={"readings": (*latency.readings, size_reading)})
        sides.append(Side(name, (sized, one.measurements[1])))
    assert gates(put(*sides))["size"] is None
    assert gates(put(*sides, metrics=("size",)))["size"] == gate


def test_sets_are_paired_by_label_and_what_has_no_counterpart_is_told(side: Callable[..., Side]) -> None:
    a, b, c = side("a"), side("b"), side("c")
    found = compare([a, b], [b, a, c], ComparisonSettings())
    assert [(pair.baseline.label, pair.candidate.label) for pair in found.pairs] == [("a", "a"), ("b", "b")]
    assert (found.outcome, found.new, found.lacking) == ("pass", ("c",), ())
    lost = compare([a, b, c], [a, b], ComparisonSettings())
    assert (lost.outcome, lost.lacking) == ("cannot tell", ("c",))


def test_intervals_widen_with_the_number_of_comparisons_so_that_all_hold_together(
    side: Callable[..., Side],
) -> None:
    one = put(side("a"), side("b"), metrics=("latency",))
    many = compare([side("a"), side("c")], [side("a"), side("c")], ComparisonSettings())
    assert one.confidence == pytest.approx(0.95)
    assert many.confidence == pytest.approx(1 - 0.05 / 4)


def test_where_nothing_is_under_the_gate_the_answer_says_so() -> None:
    found = put(Side("a", ()), Side("b", ()))
    assert (found.outcome, found.pairs[0].lines) == ("cannot tell", ())
    assert found.remarks == (
        "b: the gate has neither latency nor quality; name another quantity with --metric",
    )


def test_nothing_in_common_is_no_pass(side: Callable[..., Side]) -> None:
    assert compare([], [], ComparisonSettings()).outcome == "cannot tell"
    assert (
        compare([side("a"), side("b")], [side("c"), side("d")], ComparisonSettings()).outcome == "cannot tell"
    )
