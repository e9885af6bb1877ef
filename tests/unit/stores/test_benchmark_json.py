"""``benchmark.json`` of a champion: the field's simple shape at the top level, extended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.records import Environment, Job, Measurement
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.readings import LATENCY, Reading
from bakeoff.measure.scenarios import Quality
from bakeoff.stores.results import ResultStore

MS = 1_000_000


def latency(batch_size: int, n: int) -> Reading:
    """Calls of 1, 2, …, n ms in five generations."""
    return Reading(
        quantity=LATENCY,
        unit="ns",
        at={"batch_size": batch_size},
        values=tuple(float(number * MS) for number in range(1, n + 1)),
        generations=tuple(number * 5 // n for number in range(n)),
    )


@pytest.fixture
def document(
    tmp_path: Path, make_job: Callable[..., Job], make_environment: Callable[..., Environment]
) -> dict[str, Any]:
    def measurement(job: Job, *readings: Reading, when: str) -> Measurement:
        return Measurement(
            job=job,
            attempt=1,
            measured_at=when,
            environment=make_environment(),
            readings=readings,
            flags=(),
            wall_s=1.0,
            timed_s=0.5,
        )

    torch, onnx = Torch(threads=2), OnnxRuntime(threads=2)
    path = ResultStore(tmp_path).write_champion(
        [
            measurement(make_job(scenario=Quality(), protocol=None), when="2026-01-01T00:00:00+00:00"),
            measurement(
                make_job(runtime=torch), latency(1, 1000), latency(8, 100), when="2026-01-02T00:00:00+00:00"
            ),
            measurement(make_job(runtime=onnx), latency(1, 100), when="2026-01-03T00:00:00+00:00"),
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
    assert (document["batch_1"]["n"], document["batch_1"]["n_generations"]) == (1000, 5)
    assert document["latency"]["validity"] == "valid"
    assert document["quality"]["measured_at"] == "2026-01-01T00:00:00+00:00"
    assert list(document["runtimes"]) == ["torch-fp32", "onnxruntime-fp32"]
    assert document["runtimes"]["onnxruntime-fp32"]["batch_1"]["n"] == 100
    assert document["runtimes"]["torch-fp32"]["batch_8"] == document["batch_8"]
