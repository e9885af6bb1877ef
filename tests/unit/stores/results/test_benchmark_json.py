"""``benchmark.json`` of a champion: the field's simple shape at the top level, extended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.job import Job
from bakeoff.core.records import Flag, HeatFacts, Measurement
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.scenarios import Latency, Quality, Server, Throughput
from bakeoff.measure.statistics.readings import LATENCY, Reading
from bakeoff.stores.results.store import ResultStore
from unit.report.measured import measure_field, measure_rates

MS = 1_000_000


def latency(batch_size: int, n: int) -> Reading:
    """Calls of 1, 2, …, n ms in five repeats."""
    return Reading(
        quantity=LATENCY,
        unit="ns",
        at={"batch_size": batch_size},
        values=tuple(float(number * MS) for number in range(1, n + 1)),
        repeats=tuple(number * 5 // n for number in range(n)),
    )


@pytest.fixture
def document(
    tmp_path: Path, make_job: Callable[..., Job], make_measurement: Callable[..., Measurement]
) -> dict[str, Any]:
    torch, onnx = Torch(threads=2), OnnxRuntime(threads=2)
    path = ResultStore(tmp_path).write_champion(
        [
            make_measurement(
                make_job(scenario=Quality(), protocol=None), measured_at="2026-01-01T00:00:00+00:00"
            ),
            make_measurement(
                make_job(runtime=torch),
                latency(1, 1000),
                latency(8, 100),
                measured_at="2026-01-02T00:00:00+00:00",
            ),
            make_measurement(
                make_job(runtime=onnx), latency(1, 100), measured_at="2026-01-03T00:00:00+00:00"
            ),
        ]
    )
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_field_of_the_simple_shape_stands_at_the_top_level(document: dict[str, Any]) -> None:
    batch = document["batch_1"]
    assert batch["mean_ms"] == pytest.approx(500.5)
    assert batch["median_ms"] == pytest.approx(500.5, abs=1)
    assert batch["p95_ms"] == pytest.approx(950, abs=1)
    assert batch["p99_ms"] == pytest.approx(990, abs=1)
    assert batch["throughput_docs_per_sec"] == pytest.approx(1000 / 500.5)
    assert document["batch_8"]["throughput_docs_per_sec"] == pytest.approx(8 * 1000 / 50.5)
    assert document["device"] == "cpu"
    assert document["timestamp"] == "2026-01-02T00:00:00+00:00"


def test_a_quantile_that_the_calls_do_not_support_is_null(document: dict[str, Any]) -> None:
    assert document["batch_8"]["p99_ms"] is None
    assert document["batch_8"]["p99_interval_ms"] is None
    assert document["batch_8"]["median_ms"] == pytest.approx(50.5, abs=1)


def test_the_shape_is_extended_by_intervals_counts_validity_and_the_other_runtimes(
    document: dict[str, Any],
) -> None:
    low, high = document["batch_1"]["median_interval_ms"]
    assert low <= document["batch_1"]["median_ms"] <= high
    assert (document["batch_1"]["n"], document["batch_1"]["n_repeats"]) == (1000, 5)
    assert document["latency"]["validity"] == "valid"
    assert document["quality"]["measured_at"] == "2026-01-01T00:00:00+00:00"
    assert list(document["runtimes"]) == ["torch-fp32", "onnxruntime-fp32"]
    assert document["runtimes"]["onnxruntime-fp32"]["batch_1"]["n"] == 100
    assert document["runtimes"]["torch-fp32"]["batch_8"] == document["batch_8"]


def test_every_runtime_has_its_costs_without_the_price_of_any_decision(document: dict[str, Any]) -> None:
    for runtime in document["runtimes"].values():
        assert runtime["costs"]["absent"]["documents_per_s"] == "no throughput scenario was measured"
        assert not [name for name in runtime["costs"] if "cost" in name or "price" in name]
        assert not [name for name in runtime["costs"]["absent"] if "cost" in name]
    assert document["costs"] == document["runtimes"]["torch-fp32"]["costs"]


def test_what_was_measured_alone_has_no_ratio(document: dict[str, Any]) -> None:
    batch = document["batch_1"]
    assert (batch["ratio_to_reference"], batch["ratio_interval"], batch["verdict"]) == (None, None, None)


def in_rounds(quantity: str, ms: float, n_documents: int) -> Reading:
    """Calls of five processes of four rounds, each a little apart."""
    places = [(repeat, number) for repeat in range(5) for number in range(4)]
    return Reading(
        quantity=quantity,
        unit="ns",
        at={"batch_size": n_documents},
        values=tuple(ms * MS * (1 + 0.001 * repeat) for repeat, _ in places),
        repeats=tuple(repeat for repeat, _ in places),
        columns={
            "round": tuple(number for _, number in places),
            "left_out": (0,) * len(places),
            "calls_per_sample": (1,) * len(places),
            "n_documents": (n_documents,) * len(places),
        },
    )


@pytest.fixture
def compared(
    tmp_path: Path, make_job: Callable[..., Job], make_measurement: Callable[..., Measurement]
) -> dict[str, Any]:
    """One runtime is the reference, the other takes half as long; and a server is measured."""
    torch, onnx = Torch(threads=2), OnnxRuntime(threads=2)

    def measurement(job: Job, *readings: Reading, reference: Job | None = None) -> Measurement:
        heat = reference and HeatFacts(
            heat_id="1" * 64,
            reference_key=reference.key,
            reference=reference.candidate,
            candidates=(torch.label, onnx.label),
            threads=(2, 2),
            repeats=5,
            is_resident=True,
            stopped="targets",
            wall_s=1.0,
        )
        return make_measurement(job, *readings, heat=heat, measured_at="2026-01-02T00:00:00+00:00")

    latency, throughput = Latency(batch_sizes=(8,)), Throughput(batch_size=8)
    anchor, passes = make_job(runtime=torch, scenario=latency), make_job(runtime=torch, scenario=throughput)
    rates = Reading(quantity="max_rate", unit="per_s", values=(90.0, 100.0, 0.0), repeats=(0, 1, 2))
    path = ResultStore(tmp_path).write_champion(
        [
            measurement(anchor, in_rounds("latency", 10, 8), reference=anchor),
            measurement(
                make_job(runtime=onnx, scenario=latency),
                in_rounds("latency", 5, 8),
                in_rounds("reference", 10, 8),
                reference=anchor,
            ),
            measurement(
                make_job(runtime=onnx, scenario=throughput),
                in_rounds("pass", 500, 64).model_copy(update={"at": {"batch_size": 8}}),
                in_rounds("reference", 500, 64).model_copy(update={"at": {"batch_size": 8}}),
                reference=passes,
            ),
            measurement(make_job(runtime=torch, scenario=Server(limit_ms=50)), rates),
        ]
    )
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_batch_size_is_compared_with_the_reference_of_its_heat(compared: dict[str, Any]) -> None:
    batch = compared["runtimes"]["onnxruntime-fp32"]["batch_8"]
    assert batch["ratio_to_reference"] == pytest.approx(0.5)
    low, high = batch["ratio_interval"]
    assert low <= 0.5 <= high < 1
    assert (batch["verdict"], batch["reference"]) == ("faster", "minilm-l6 × torch-fp32")
    assert batch["ratio_is_of"] == "wall time"
    own = compared["runtimes"]["torch-fp32"]["batch_8"]
    assert (own["verdict"], own["ratio_to_reference"], own["ratio_is_of"]) == ("reference", None, None)


def test_throughput_is_told_with_its_interval_and_its_own_ratio(compared: dict[str, Any]) -> None:
    entry = compared["runtimes"]["onnxruntime-fp32"]["throughput"]
    low, high = entry["documents_per_s_interval"]
    assert low < entry["documents_per_s"] < high
    assert entry["documents_per_s"] == pytest.approx(128, rel=0.01)
    assert (entry["batch_size"], entry["verdict"]) == (8, "equivalent")
    assert (
        compared["runtimes"]["onnxruntime-fp32"]["costs"]["documents_per_s"]["value"]
        == (entry["documents_per_s"])
    )


def test_a_server_that_found_no_rate_is_told_with_its_limit_and_the_reason(
    compared: dict[str, Any],
) -> None:
    entry = compared["runtimes"]["torch-fp32"]["server"]
    assert (entry["limit_ms"], entry["quantile"], entry["max_rate_per_s"]) == (50, 0.99, None)
    assert (entry["response_p50_ms"], entry["response_p99_ms"]) == (None, None)
    assert entry["max_rate_absent"] == "no rate that was tried met the limit in 1 of 3 processes"


def test_a_server_is_told_with_its_rate_and_the_responses_at_it(tmp_path: Path) -> None:
    latency = next(each for each in measure_field() if each.job.scenario.kind == "latency")
    written: dict[str, Any] = json.loads(
        ResultStore(tmp_path).write_champion(measure_rates(latency)).read_text()
    )
    entry = written["runtimes"]["torch-fp32"]["server"]
    for name, ends in (
        ("max_rate_per_s", "max_rate_per_s_interval"),
        ("response_p50_ms", "response_p50_interval_ms"),
        ("response_p99_ms", "response_p99_interval_ms"),
    ):
        low, high = entry[ends]
        assert low < entry[name] < high
    costs = written["runtimes"]["torch-fp32"]["costs"]
    assert costs["served"]["response_p99_ms"]["value"] == entry["response_p99_ms"]
    assert costs["throughput_batch_size"] == 32


def test_a_contended_measurement_of_one_thread_says_that_its_ratio_is_of_cpu_time(tmp_path: Path) -> None:
    field = [each for each in measure_field(threads=1) if each.job.scenario.kind == "latency"][:2]
    busy = [each.model_copy(update={"flags": (Flag(name="contended", detail=""),)}) for each in field]
    written = json.loads(ResultStore(tmp_path).write_champion(busy).read_text())
    _, other = written["runtimes"].values()
    assert {other[f"batch_{size}"]["ratio_is_of"] for size in (1, 8)} == {"CPU time"}


def test_what_a_start_takes_is_told_beside_the_load_time(tmp_path: Path) -> None:
    latency = next(each for each in measure_field() if each.job.scenario.kind == "latency")
    written = json.loads(ResultStore(tmp_path).write_champion([latency]).read_text())
    costs = written["runtimes"]["torch-fp32"]["costs"]
    assert costs["warmup_ms"] == {"1": 512.0, "8": 498.0}
    assert sorted(costs["first_call_ms"]) == ["1", "8"]
    assert costs["load_ms"] > 0


def test_a_second_scenario_of_a_kind_stands_beside_the_first_and_replaces_nothing(
    tmp_path: Path, make_job: Callable[..., Job], make_measurement: Callable[..., Measurement]
) -> None:
    model = make_measurement(make_job(scenario=Latency(batch_sizes=(1,))), latency(1, 1000))
    e2e = make_measurement(make_job(scenario=Latency(batch_sizes=(1,), region="end_to_end")), latency(1, 100))
    written = json.loads(ResultStore(tmp_path).write_champion([model, e2e]).read_text())
    (found,) = written["runtimes"].values()
    assert (found["batch_1"]["n"], found["latency"]["scenario"]["region"]) == (1000, "model")
    (other,) = found["more"]
    assert (other["batch_1"]["n"], other["latency"]["scenario"]["region"]) == (100, "end_to_end")
    assert other["latency"]["benchmark_key"] == e2e.job.key
    assert written["batch_1"]["n"] == 1000
