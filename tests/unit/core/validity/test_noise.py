"""Clocks: what is said of a ratio is what the ratio was made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bakeoff.core.comparison.reference import compare_to_reference
from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Flag, HeatFacts, Measurement
from bakeoff.core.validity.noise import clock_of
from bakeoff.measure.backends import OnnxRuntime
from bakeoff.measure.statistics.readings import Reading

N_REPEATS, N_ROUNDS = 5, 4
# By the wall clock it takes twice as long as the reference, of CPU time three times as much.
WALL_NS, CPU_NS, REFERENCE_NS = 2000, 3000, 1000


def in_rounds(quantity: str, wall_ns: int, cpu_ns: int) -> Reading:
    places = [(repeat, number) for repeat in range(N_REPEATS) for number in range(N_ROUNDS)]
    n = len(places)
    return Reading(
        quantity=quantity,
        unit="ns",
        at={"batch_size": 1},
        values=(float(wall_ns),) * n,
        repeats=tuple(repeat for repeat, _ in places),
        columns={
            "round": tuple(number for _, number in places),
            "left_out": (0,) * n,
            "cpu_ns": (cpu_ns,) * n,
            "calls_per_sample": (1,) * n,
            "n_documents": (1,) * n,
        },
    )


@pytest.mark.parametrize(
    ("threads", "flags", "clock", "ratio"),
    [
        (1, ("contended",), "CPU time", CPU_NS / REFERENCE_NS),
        (2, ("contended",), "wall time", WALL_NS / REFERENCE_NS),
        (1, ("disturbed",), "wall time", WALL_NS / REFERENCE_NS),
        (1, (), "wall time", WALL_NS / REFERENCE_NS),
    ],
)
def test_the_clock_that_is_told_is_the_one_that_the_ratio_is_of(
    *,
    make_job: Callable[..., Job],
    make_environment: Callable[..., Environment],
    threads: int,
    flags: tuple[str, ...],
    clock: str,
    ratio: float,
) -> None:
    measurement = Measurement(
        job=make_job(runtime=OnnxRuntime(threads=threads)),
        attempt=1,
        measured_at="2026-01-01T00:00:00+00:00",
        environment=make_environment(),
        heat=HeatFacts(
            heat_id="1" * 64,
            reference_key="another",
            reference="the reference",
            candidates=("the reference", "this one"),
            threads=(threads, threads),
            repeats=N_REPEATS,
            is_resident=True,
            stopped="targets",
            wall_s=1.0,
        ),
        readings=(
            in_rounds("latency", WALL_NS, CPU_NS),
            in_rounds("reference", REFERENCE_NS, REFERENCE_NS),
        ),
        flags=tuple(Flag(name=name, detail="") for name in flags),
        wall_s=1.0,
        timed_s=0.5,
    )
    comparison = compare_to_reference(measurement, 1)
    assert comparison is not None
    assert comparison.ratio is not None
    assert comparison.ratio.value == pytest.approx(ratio)
    assert clock_of(measurement) == clock
