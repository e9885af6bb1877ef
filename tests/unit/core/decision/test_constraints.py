"""Limits on memory and rates: met, failed or unknown by the whole of the interval."""

from __future__ import annotations

from typing import Any

import pytest

from bakeoff.core.config.decision_rules import (
    Constraint,
    MemoryLimit,
    QualityDrop,
    ServerRateFloor,
    ThroughputFloor,
)
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.constraints import ConstraintResult, check_constraint
from bakeoff.core.decision.costs import Costs
from bakeoff.core.decision.production import Gaps
from bakeoff.core.estimate import Estimate
from bakeoff.core.job import Environment, Hardware
from bakeoff.measure.tasks.token_classification import METRICS
from unit.outcomes import count_entities

MIB = 2**20


def check(limit: Constraint, costs: Costs | None, gaps: Gaps | None = None) -> ConstraintResult:
    hardware = Hardware(machine="x", cpu_model="y", physical_cores=2, usable_cpus=2)
    candidate = Candidate(
        backbone="b",
        runtime="r",
        champion_run_id="c",
        checkpoint_digest="d",
        quality_inputs_digest="q",
        outcomes=count_entities([1], 1),
        latency={},
        costs=costs,
        environment=Environment(hardware=hardware, libraries={}),
        benchmark_keys=(),
    )
    quality = Estimate(value=0.8, low=0.7, high=0.9)
    return check_constraint(
        candidate, limit, quality, gaps or {}, metric=METRICS["f1"], settings=DecisionSettings()
    )


@pytest.mark.parametrize(
    ("mib", "result"), [(41, "met"), (40, "met"), (39, "cannot tell"), (30, "cannot tell"), (29, "failed")]
)
def test_a_memory_limit_is_held_against_every_process(mib: int, result: str) -> None:
    costs = Costs(memory_run_bytes=Estimate(value=35 * MIB, low=30 * MIB, high=40 * MIB))
    found = check(MemoryLimit(kind="memory", at_most_bytes=mib * MIB), costs)
    assert (found.result, found.text) == (result, f"memory: 35.0 MiB [30.0, 40.0] ≤ {mib}.0 MiB")


RATES = (
    (ThroughputFloor, "throughput", "documents_per_s", "throughput: 100.0 documents/s [90.0, 110.0] ≥ "),
    (ServerRateFloor, "server_rate", "max_rate_per_s", "server: 100.0 requests/s [90.0, 110.0] ≥ "),
)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    ("least", "result"),
    [(89, "met"), (90, "met"), (91, "cannot tell"), (110, "cannot tell"), (111, "failed")],
)
def test_a_floor_of_a_rate_is_held_against_its_interval(
    rate: tuple[Any, str, str, str], least: float, result: str
) -> None:
    make, kind, field, text = rate
    costs = Costs.model_validate({field: Estimate(value=100, low=90, high=110)})
    found = check(make(kind=kind, at_least_per_s=least), costs)
    assert (found.result, found.text) == (result, f"{text}{least:g}")


@pytest.mark.parametrize(("make", "kind", "field", "_"), RATES)
def test_a_busy_machine_proves_no_candidate_too_slow(make: Any, kind: str, field: str, _: str) -> None:
    costs = Costs.model_validate({field: Estimate(value=100, low=90, high=110), "is_contended": True})
    assert check(make(kind=kind, at_least_per_s=111), costs).result == "cannot tell"
    assert check(make(kind=kind, at_least_per_s=90), costs).result == "met"


@pytest.mark.parametrize(("make", "kind", "field", "_"), RATES)
def test_a_rate_without_upper_bound_fails_no_floor(make: Any, kind: str, field: str, _: str) -> None:
    costs = Costs.model_validate({field: Estimate(value=100, low=0, high=None)})
    found = check(make(kind=kind, at_least_per_s=111), costs)
    assert found.result == "cannot tell"
    assert "[0.0, ∞]" in found.text


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (MemoryLimit(kind="memory", at_most_bytes=1), "memory: no measured scenario"),
        (ThroughputFloor(kind="throughput", at_least_per_s=1), "throughput: no throughput scenario"),
        (ServerRateFloor(kind="server_rate", at_least_per_s=1), "server: no server scenario was measured"),
    ],
)
@pytest.mark.parametrize("costs", [None, Costs()])
def test_what_was_not_measured_cannot_be_told(limit: Constraint, reason: str, costs: Costs | None) -> None:
    found = check(limit, costs)
    assert found.result == "cannot tell"
    assert found.text.startswith(reason)


def test_a_server_that_met_its_limit_at_no_rate_is_told_as_such() -> None:
    why = "the limit was met at no rate in 5 of 5 processes"
    found = check(
        ServerRateFloor(kind="server_rate", at_least_per_s=1), Costs(absent={"max_rate_per_s": why})
    )
    assert (found.result, found.text) == ("cannot tell", f"server: {why}")


@pytest.mark.parametrize(
    ("at_most", "result"),
    [
        (0.0, "failed"),
        (0.0049, "cannot tell"),
        (0.005, "cannot tell"),
        (0.0099, "cannot tell"),
        (0.01, "met"),
    ],
)
def test_a_drop_is_held_against_the_whole_interval_of_the_difference(at_most: float, result: str) -> None:
    gap = Estimate(value=-0.005, low=-0.01, high=-0.001)
    found = check(QualityDrop(kind="quality_drop", at_most=at_most), None, {"production": gap})
    assert found.result == result
    assert found.text == f"F1 against production: -0.0050 [-0.0100, -0.0010] ≥ {-at_most:g}"


def test_a_drop_of_exactly_the_limit_is_met_however_the_difference_is_rounded() -> None:
    gap = Estimate(value=0.845 - 0.85, low=0.845 - 0.85, high=0.845 - 0.85)
    limit = QualityDrop(kind="quality_drop", at_most=0.005)
    assert check(limit, None, {"production": gap}).result == "met"


@pytest.mark.parametrize("basis", ["production", "reference"])
def test_a_drop_from_what_is_not_known_cannot_be_told(basis: Any) -> None:
    found = check(QualityDrop(kind="quality_drop", against=basis, at_most=1), None, {basis: "nobody knows"})
    assert (found.result, found.text) == ("cannot tell", f"F1 against {basis}: nobody knows")
