"""A candidate beside the reference of its heat: by which time, and with what interval."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bakeoff.core.comparison.reference import ReferenceComparison, compare_to_reference
from bakeoff.core.estimate import Estimate
from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Flag, Measurement

from ..measured import Bench, calls

BUSY = Flag(name="contended", detail="90% of the rounds", invalidates=True)


@pytest.fixture
def bench(make_job: Callable[..., Job], make_environment: Callable[..., Environment]) -> Bench:
    return Bench(make_job, make_environment)


def compare(measurement: Measurement) -> ReferenceComparison:
    comparison = compare_to_reference(measurement, 1)
    assert comparison is not None
    return comparison


def ratio_of(measurement: Measurement) -> Estimate:
    ratio = compare(measurement).ratio
    assert ratio is not None
    return ratio


def beside_spinning(bench: Bench, threads: tuple[int, ...], *flags: Flag) -> Measurement:
    """10.5 ms beside a reference of 10 ms, whose CPU time is twice its clock: two threads spin in it."""
    runtime = bench.job("a").runtime.model_copy(update={"threads": 1})
    made = bench.latency("a", 10.5, threads=threads, flags=flags, runtime=runtime)
    spinning = calls("reference", 10.0, seed=1000, heat=0, cpu_ms=20.0)
    return made.model_copy(update={"readings": (made.readings[0], spinning)})


@pytest.mark.parametrize("threads", [(2, 1), (1, 2), ()])
def test_a_reference_of_more_threads_makes_no_candidate_faster(
    bench: Bench, threads: tuple[int, ...]
) -> None:
    """And neither does one of which nobody wrote down how many it used."""
    comparison = compare(beside_spinning(bench, threads, BUSY))
    assert comparison.verdict == "slower"
    assert comparison.ratio is not None
    assert comparison.ratio.value == pytest.approx(1.05, rel=0.02)


def test_one_thread_each_is_compared_by_cpu_time_on_a_busy_machine_alone(bench: Bench) -> None:
    assert ratio_of(beside_spinning(bench, (1, 1), BUSY)).value == pytest.approx(0.525, rel=0.02)
    assert ratio_of(beside_spinning(bench, (1, 1))).value == pytest.approx(1.05, rel=0.02)


def test_the_more_candidates_a_heat_has_the_wider_is_each_interval(bench: Bench) -> None:
    two = bench.latency("a", 10.5)
    assert two.heat is not None
    five = two.model_copy(
        update={"heat": two.heat.model_copy(update={"candidates": ("reference", "a", "b", "c", "d")})}
    )
    narrow, wide = ratio_of(two), ratio_of(five)
    assert wide.value == narrow.value
    assert wide.low < narrow.low
    assert narrow.high is not None
    assert wide.high is not None
    assert wide.high > narrow.high
