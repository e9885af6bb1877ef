"""Costs: memory without the imports, what is paid once, rates with intervals, and money by two formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.costs import Costs, measure_costs
from bakeoff.core.estimate import Estimate
from bakeoff.core.job import Job
from bakeoff.core.records import Flag, Measurement
from bakeoff.measure.scenarios import Latency, Server, Throughput
from bakeoff.measure.statistics.readings import COUNTED, DIRTY, Reading, Unit
from reckoning import Known, reckon_half_width

MIB = 2**20
MS = 1e6
MakeMeasurement = Callable[..., Measurement]


def one_each(quantity: str, values: Sequence[float], unit: Unit = "ns", **columns: Any) -> Reading:
    """One value a process."""
    return Reading(
        quantity=quantity,
        unit=unit,
        values=tuple(map(float, values)),
        repeats=tuple(range(len(values))),
        columns=columns,
    )


def make_calls(
    ms: Sequence[float], *, quantity: str = "latency", n_documents: int = 1, calls_per_sample: int = 1
) -> Reading:
    """Two processes of one round each, which make the same calls."""
    n = len(ms)
    return Reading(
        quantity=quantity,
        unit="ns",
        at={"batch_size": n_documents},
        values=tuple(value * MS for value in (*ms, *ms)),
        repeats=(0,) * n + (1,) * n,
        columns={
            "round": (0,) * (2 * n),
            "left_out": (COUNTED,) * (2 * n),
            "calls_per_sample": (calls_per_sample,) * (2 * n),
            "n_documents": (n_documents,) * (2 * n),
        },
    )


PROCESS = (
    one_each("load", [9 * MS, 7 * MS, 8 * MS], import_ns=(30_000_000, 10_000_000, 20_000_000)),
    one_each("memory_imports", [50 * MIB, 60 * MIB, 55 * MIB], "bytes"),
    one_each("memory_load", [90 * MIB, 95 * MIB, 85 * MIB], "bytes"),
    one_each("memory_run", [80 * MIB, 99 * MIB, 95 * MIB], "bytes"),
    one_each("model_size", [7 * MIB], "bytes"),
    one_each("tokenize", [2 * MS, 1 * MS, 90 * MS]),
)


@pytest.fixture
def measure(make_job: Callable[..., Job], make_measurement: Callable[..., Measurement]) -> MakeMeasurement:
    def make(scenario: Any, *readings: Reading, flags: Sequence[str] = ()) -> Measurement:
        named = tuple(Flag(name=name, detail="") for name in flags)
        return make_measurement(make_job(scenario=scenario), *readings, flags=named)

    return make


def test_memory_is_without_the_imports_process_by_process_and_the_whole_peak_is_not(
    measure: MakeMeasurement,
) -> None:
    costs = measure_costs([measure(Latency(), *PROCESS)])
    assert costs.memory_load_bytes == Estimate(value=35 * MIB, low=30 * MIB, high=40 * MIB)
    assert costs.memory_run_bytes == Estimate(value=39 * MIB, low=30 * MIB, high=40 * MIB)
    assert costs.memory_peak_bytes == Estimate(value=95 * MIB, low=90 * MIB, high=99 * MIB)


def test_memory_that_the_system_does_not_count_is_absent_and_not_zero(measure: MakeMeasurement) -> None:
    blind = [one_each(f"memory_{mark}", [0, 0], "bytes") for mark in ("imports", "load", "run")]
    costs = measure_costs([measure(Latency(), *blind)])
    assert costs.memory_run_bytes is None
    assert "the system does not count it" in costs.absent["memory_run_bytes"]


def test_what_is_paid_once_is_the_median_over_the_processes(measure: MakeMeasurement) -> None:
    warmups = (600_000_000, 500_000_000, 900_000_000)
    first = one_each("first_call", [30 * MS, 20 * MS, 90 * MS], warmup_ns=warmups)
    at_8 = first.model_copy(update={"at": {"batch_size": 8}})
    costs = measure_costs([measure(Latency(), *PROCESS, at_8)])
    assert (costs.load_ms, costs.import_ms, costs.model_size_bytes) == (8.0, 20.0, 7 * MIB)
    assert costs.first_call_ms == {8: 30.0}
    assert costs.warmup_ms == {8: 600.0}
    assert costs.tokenize_p50_ms == 2.0


def test_a_pass_over_all_texts_is_no_first_call(measure: MakeMeasurement) -> None:
    first, at = one_each("first_call", [900 * MS], warmup_ns=(950_000_000,)), {"at": {"batch_size": 32}}
    costs = measure_costs([measure(Throughput(), first.model_copy(update=at))])
    assert (costs.first_call_ms, costs.warmup_ms) == ({}, {})


def test_energy_is_shared_by_all_documents_of_the_blocks_the_untimed_calls_too(
    measure: MakeMeasurement,
) -> None:
    one = make_calls([5.0] * 9)  # 9 timed calls and an untimed one: 10 documents a process
    eight = make_calls([20.0] * 4, n_documents=8, calls_per_sample=2)  # (4 · 2 + 1) · 8 documents
    costs = measure_costs([measure(Latency(), one, eight, one_each("energy", [820, 1640], "uj"))])
    assert costs.energy_per_document_uj == pytest.approx((820 + 1640) / 2 / 82)


def test_energy_of_one_measurement_is_not_shared_with_the_documents_of_another(
    measure: MakeMeasurement,
) -> None:
    latency = measure(Latency(), make_calls([5.0] * 9), one_each("energy", [100, 100], "uj"))
    passes = make_calls([50.0] * 3, quantity="pass", n_documents=64)
    throughput = measure(Throughput(), passes, one_each("energy", [999, 999], "uj"))
    assert measure_costs([throughput, latency]).energy_per_document_uj == pytest.approx(10)


def test_a_machine_without_energy_counter_gives_none_and_the_reason(measure: MakeMeasurement) -> None:
    costs = measure_costs([measure(Latency(), make_calls([5.0]))])
    assert costs.energy_per_document_uj is None
    assert costs.absent["energy_per_document_uj"].startswith("no energy counter")


def test_throughput_is_documents_by_time_with_an_interval(measure: MakeMeasurement) -> None:
    passes = make_calls([500.0, 500.0], quantity="pass", n_documents=64)
    found = measure_costs([measure(Throughput(), passes)]).documents_per_s
    assert found is not None
    assert found.value == pytest.approx(128)
    assert found.low <= found.value <= (found.high or math.inf)
    assert measure_costs([measure(Throughput(), passes)]).throughput_batch_size == 64


def test_the_maximum_rate_is_the_median_with_a_moderated_interval(
    measure: MakeMeasurement,
) -> None:
    rates = one_each("max_rate", [100, 110, 121], "per_s")
    found = measure_costs([measure(Server(limit_ms=50), rates)]).max_rate_per_s
    assert found is not None
    assert found.value == pytest.approx(110)
    # Processes of an open loop have no heat: the instrument's own prior, and a spread of log 1.1.
    logs = [math.log(rate) for rate in (100, 110, 121)]
    half = reckon_half_width(logs, Known("time", [math.log(1.1) ** 2], 2))
    assert math.log(found.low / 110) == pytest.approx(-half, rel=1e-3)
    assert math.log((found.high or math.inf) / 110) == pytest.approx(half, rel=1e-3)
    # Student's t of two degrees of freedom is 4.3027: the prior knows more than three processes do.
    assert half < 4.302653 * math.log(1.1) / math.sqrt(3)


def test_one_process_bounds_no_rate_from_above(measure: MakeMeasurement) -> None:
    found = measure_costs([measure(Server(limit_ms=50), one_each("max_rate", [100], "per_s"))])
    assert found.max_rate_per_s is not None
    assert (found.max_rate_per_s.low, found.max_rate_per_s.high) == (0.0, None)


def test_a_process_that_met_the_limit_at_no_rate_leaves_no_rate(measure: MakeMeasurement) -> None:
    costs = measure_costs([measure(Server(limit_ms=50), one_each("max_rate", [100, 0, 0], "per_s"))])
    assert costs.max_rate_per_s is None
    assert costs.absent["max_rate_per_s"] == "no rate that was tried met the limit in 2 of 3 processes"


def test_money_is_the_price_of_the_seconds_that_a_million_takes(measure: MakeMeasurement) -> None:
    latency = measure(Latency(), make_calls([5.0] * 3), make_calls([10.0, 30.0], n_documents=8))
    server = measure(Server(limit_ms=50), one_each("max_rate", [200, 200], "per_s"))
    settings = DecisionSettings(price_per_hour=3.6, batch_size=8)
    costs = measure_costs([latency, server], settings)
    assert costs.cost_per_million is not None
    assert costs.cost_per_million.value == pytest.approx(3.6 / 3600 * 1e6 * 0.020 / 8)
    assert costs.cost_per_million_served is not None
    assert costs.cost_per_million_served.value == pytest.approx(3.6 / 3600 * 1e6 / 200)


def test_disturbed_rounds_that_are_left_out_cost_nothing(measure: MakeMeasurement) -> None:
    calls = make_calls([5.0, 5.0, 500.0])
    left_out = tuple(DIRTY if value > 100 * MS else COUNTED for value in calls.values)
    rounds = tuple(int(why == DIRTY) for why in left_out)
    marked = calls.model_copy(update={"columns": {**calls.columns, "left_out": left_out, "round": rounds}})
    costs = measure_costs([measure(Latency(), marked)], DecisionSettings(price_per_hour=3600))
    assert costs.cost_per_million is not None
    assert costs.cost_per_million.value == pytest.approx(5000)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (None, "decision.price_per_hour is not set"),
        (DecisionSettings(), "decision.price_per_hour is not set"),
        (DecisionSettings(price_per_hour=1, batch_size=64), "the decision's batch size"),
    ],
)
def test_without_price_or_latency_there_is_no_cost_and_a_reason(
    measure: MakeMeasurement, settings: DecisionSettings | None, reason: str
) -> None:
    costs = measure_costs([measure(Latency(), make_calls([5.0]))], settings)
    assert costs.cost_per_million is None
    assert costs.absent["cost_per_million"].startswith(reason)


def test_an_instance_that_costs_nothing_is_priced_at_nothing(measure: MakeMeasurement) -> None:
    costs = measure_costs([measure(Latency(), make_calls([5.0]))], DecisionSettings(price_per_hour=0))
    assert costs.cost_per_million is not None
    assert costs.cost_per_million.value == 0
    assert "cost_per_million" not in costs.absent


@pytest.mark.parametrize(
    ("scenario", "flag", "expected"),
    [
        (Latency(), "contended", True),
        (Server(limit_ms=50), "disturbed", True),
        (Server(limit_ms=50), "few_repeats", False),
    ],
)
def test_a_busy_machine_is_remembered(
    measure: MakeMeasurement, scenario: Any, flag: str, expected: bool
) -> None:
    assert measure_costs([measure(scenario, flags=[flag])]).is_contended == expected


def test_costs_survive_json(measure: MakeMeasurement) -> None:
    costs = measure_costs(
        [measure(Latency(), *PROCESS, make_calls([5.0]))], DecisionSettings(price_per_hour=1)
    )
    assert Costs.model_validate_json(costs.model_dump_json()) == costs
