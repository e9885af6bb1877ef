"""Frames: one row a candidate, a measurement and quantity, or a timed call, and nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import assemble_candidates
from bakeoff.core.decision.decide import decide
from bakeoff.core.job import Environment, Job
from bakeoff.core.tables import FlatTable, tabulate_decision, tabulate_measurements, tabulate_samples
from bakeoff.measure.statistics.readings import Reading

from .measured import N_CALLS, N_REPEATS, N_ROUNDS, Bench


@pytest.fixture
def bench(make_job: Callable[..., Job], make_environment: Callable[..., Environment]) -> Bench:
    return Bench(make_job, make_environment)


def rows_of(frame: FlatTable) -> list[dict[str, object]]:
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.rows]


def test_every_timed_call_is_a_row_with_its_place_and_both_of_its_times(bench: Bench) -> None:
    measurement = bench.latency("a", 8.0)
    rows = rows_of(tabulate_samples([measurement]))
    assert len(rows) == N_REPEATS * N_ROUNDS * N_CALLS
    reading = measurement.readings[0]
    assert [row["wall_ns"] for row in rows] == list(reading.values)
    assert [row["cpu_ns"] for row in rows] == list(reading.columns["cpu_ns"])
    assert {(row["repeat"], row["round"]) for row in rows} == {
        (repeat, number) for repeat in range(N_REPEATS) for number in range(N_ROUNDS)
    }
    assert {row["key_digest"] for row in rows} == {measurement.job.key_digest}


def test_a_response_time_never_stands_under_the_name_of_a_service_time(bench: Bench) -> None:
    response = Reading(
        quantity="response",
        unit="ns",
        values=(5.0, 7.0),
        repeats=(0, 0),
        columns={"service_ns": (2, 3)},
    )
    served = bench.latency("a", 8.0).model_copy(update={"readings": (response,)})
    mixed = tabulate_samples([bench.latency("b", 8.0), served])
    last = rows_of(mixed)[-1]
    assert (last["response_ns"], last["service_ns"], last["wall_ns"]) == (7.0, 3, None)
    assert rows_of(mixed)[0]["response_ns"] is None


def test_a_measurement_has_a_row_a_quantity_with_intervals_only_where_the_samples_carry_them(
    bench: Bench,
) -> None:
    rows = rows_of(tabulate_measurements([bench.latency("a", 8.0), bench.quality("a", lambda _: 3)]))
    assert [(row["quantity"], row["n"]) for row in rows] == [
        ("latency", 500),
        ("reference", 500),
        ("outcomes", 50),
    ]
    latency, _, outcomes = rows
    assert isinstance(latency["p50"], float)
    assert isinstance(latency["p50_low"], float)
    assert latency["p50_low"] < latency["p50"]
    assert latency["p99"] is not None
    assert (outcomes["f1"], outcomes["p50"], latency["f1"]) == (0.75, None, None)


def test_a_standing_is_a_row_with_its_figures_as_they_are(bench: Bench) -> None:
    measurements = [
        each
        for name, ms in (("reference", 10.0), ("b", 5.0))
        for each in (bench.quality(name, lambda _: 3), bench.latency(name, ms))
    ]
    settings = DecisionSettings(resamples=200, price_per_hour=1.0)
    candidates, _ = assemble_candidates(measurements, settings)
    decision = decide(candidates, settings)
    rows = rows_of(tabulate_decision(decision))
    assert [row["candidate"] for row in rows] == [standing.label for standing in decision.standings]
    first = decision.standings[0]
    assert (rows[0]["rank"], rows[0]["place"], rows[0]["latency_ms"], rows[0]["latency_ms.high"]) == (
        1,
        first.place,
        first.latency_ms.value,
        first.latency_ms.high,
    )
    assert first.costs is not None
    assert first.costs.cost_per_million is not None
    assert rows[0]["cost_per_million"] == first.costs.cost_per_million.value
    assert str(rows[0]["benchmark_keys"]).split() == list(first.benchmark_keys)
