"""On what ground two measured times are compared, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.core.comparison.ratio import Paired, TimingPoint, divide_intervals, pair_times
from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Flag, Measurement
from bakeoff.measure.statistics.intervals import Interval, quantile_intervals

from ..measured import Bench

P50 = TimingPoint("latency", 1)


@pytest.fixture
def bench(make_job: Callable[..., Job], make_environment: Callable[..., Environment]) -> Bench:
    return Bench(make_job, make_environment)


def pair(
    baseline: Measurement, candidate: Measurement, place: TimingPoint = P50, *, allow: bool = False
) -> Paired:
    return pair_times(baseline, candidate, place, 0.95, allow_unlike_environments=allow)


def ratio_of(paired: Paired) -> Interval:
    assert paired.ratio is not None, paired.remark
    return paired.ratio


def width(interval: Interval) -> float:
    return math.log(interval.high / interval.low)


def test_rounds_that_both_ran_are_compared_however_the_machine_wanders(bench: Bench) -> None:
    paired = pair(bench.latency("a", 8.0, seed=1), bench.latency("b", 8.8, seed=2))
    assert paired.basis == "same rounds"
    ratio = ratio_of(paired)
    assert ratio.low < 1.1 < ratio.high
    assert width(ratio) < 0.03


def test_heats_of_two_days_are_joined_by_their_reference(bench: Bench) -> None:
    paired = pair(bench.latency("a", 8.0, heat=1), bench.latency("b", 8.8, seed=2, heat=2))
    assert paired.basis == "common reference"
    ratio = ratio_of(paired)
    assert ratio.low < 1.1 < ratio.high
    assert width(ratio) < 0.05


def test_the_reference_itself_is_compared_by_the_rounds_in_which_it_ran_again(bench: Bench) -> None:
    reference = bench.latency("reference", 10.0, heat=1)
    paired = pair(reference, bench.latency("b", 11.0, heat=2))
    assert paired.basis == "common reference"
    assert ratio_of(paired).value == pytest.approx(1.1, rel=0.01)


def test_a_reference_that_was_measured_twice_tells_nothing_about_itself(bench: Bench) -> None:
    before, after = (
        bench.latency("reference", ms, heat=heat, attempt=heat) for ms, heat in ((10.0, 1), (20.0, 2))
    )
    paired = pair(before, after)
    assert paired.ratio is None
    assert "two sessions without a common reference" in paired.remark


def test_an_upgrade_is_refused_with_what_changed_and_how_to_go_on(bench: Bench) -> None:
    paired = pair(bench.latency("a", 8.0), bench.latency("a", 8.0, heat=2, libraries={"torch": "2.13.0"}))
    assert paired.ratio is None
    assert "torch 2.9.0 → 2.13.0" in paired.remark
    assert "run.mode=force_new" in paired.remark
    assert "--allow-unlike-environments" in paired.remark


def test_absolute_values_are_compared_when_told_with_a_warning(bench: Bench) -> None:
    after = bench.latency("a", 8.0, heat=2, libraries={"torch": "2.13.0"})
    paired = pair(bench.latency("a", 8.0), after, allow=True)
    assert paired.basis == "absolute values"
    assert "does not hold the drift of the machine between sessions" in paired.remark
    assert "through the reference" in paired.remark


def test_the_interval_of_absolute_values_holds_what_the_calibration_loop_saw(bench: Bench) -> None:
    """The machine became 1.5 times as slow; so did the times. Neither reading may be claimed for sure."""
    plain = [bench.latency("a", 8.0, heat=1), bench.latency("a", 8.0, heat=2, libraries={"x": "2"})]
    seen = [
        bench.latency("a", 8.0, heat=1, calibration_ns=(100.0, 90.0, 500.0)),
        bench.latency("a", 8.0, heat=2, libraries={"x": "2"}, calibration_ns=(150.0, 150.0)),
    ]
    without, with_calibration = (ratio_of(pair(each[0], each[1], allow=True)) for each in (plain, seen))
    assert with_calibration.value == without.value
    assert with_calibration.high == without.high
    assert with_calibration.low == pytest.approx(without.low / 1.5)


@pytest.mark.parametrize(("after", "factor"), [(11_000.0, 2.75), (4_400.0, 1.0)])
def test_the_interval_of_absolute_values_holds_that_the_host_moved_the_cpus(
    bench: Bench, after: float, factor: float
) -> None:
    plain = [bench.latency("a", 8.0, heat=1), bench.latency("a", 8.0, heat=2, libraries={"x": "2"})]
    seen = [
        bench.latency("a", 8.0, heat=1, core_to_core_ns=(4_000.0,) * 20),
        bench.latency("a", 8.0, heat=2, libraries={"x": "2"}, core_to_core_ns=(after,) * 20),
    ]
    without, moved = (pair(each[0], each[1], allow=True) for each in (plain, seen))
    assert ratio_of(moved).high == ratio_of(without).high
    assert ratio_of(moved).low == pytest.approx(ratio_of(without).low / factor)
    assert ("2.8× as long from CPU to CPU" in moved.remark) == (factor > 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"inputs_digest": "9" * 64}, "timed on different texts"),
        ({"max_length": 64}, "max_length 128 → 64"),
    ],
)
def test_unlike_work_is_never_compared(bench: Bench, changes: dict[str, Any], told: str) -> None:
    paired = pair(bench.latency("a", 8.0), bench.latency("b", 8.0, **changes), allow=True)
    assert paired.ratio is None
    assert told in paired.remark


def test_a_tail_needs_its_samples(bench: Bench) -> None:
    a, b = bench.latency("a", 8.0, seed=1), bench.latency("b", 8.0, seed=2)
    assert pair(a, b, TimingPoint("latency", 1, 0.99)).ratio is not None
    rare = pair(a, b, TimingPoint("latency", 1, 0.999))
    assert rare.ratio is None
    assert "too few samples" in rare.remark


def test_on_a_busy_machine_one_thread_is_compared_by_cpu_time(bench: Bench) -> None:
    busy = Flag(name="contended", detail="90% of the rounds", invalidates=True)
    runtime = bench.job("a").runtime.model_copy(update={"threads": 1})
    a, b = (
        bench.latency(name, 8.0, seed=seed, flags=(busy,), runtime=runtime)
        for name, seed in (("a", 1), ("b", 2))
    )
    held_up = b.readings[0].model_copy(update={"values": tuple(3 * each for each in b.readings[0].values)})
    b = b.model_copy(update={"readings": (held_up, *b.readings[1:])})
    assert ratio_of(pair(a, b)).value == pytest.approx(1.0, rel=0.02)
    assert ratio_of(pair(a, b.model_copy(update={"flags": ()}))).value == pytest.approx(1.0, rel=0.02)
    quiet = [each.model_copy(update={"flags": ()}) for each in (a, b)]
    assert ratio_of(pair(quiet[0], quiet[1])).value == pytest.approx(3.0, rel=0.02)


def test_heats_are_joined_by_cpu_time_only_where_their_reference_used_one_thread_too(bench: Bench) -> None:
    """In the second heat other work took two thirds of the clock from the candidate alone."""
    busy = Flag(name="contended", detail="90% of the rounds", invalidates=True)
    runtime = bench.job("a").runtime.model_copy(update={"threads": 1})

    def through(threads: tuple[int, ...]) -> Interval:
        a, b = (
            bench.latency(name, 8.0, heat=heat, flags=(busy,), runtime=runtime, threads=threads)
            for name, heat in (("a", 1), ("b", 2))
        )
        held_up = b.readings[0].model_copy(update={"values": tuple(3 * ns for ns in b.readings[0].values)})
        paired = pair(a, b.model_copy(update={"readings": (held_up, *b.readings[1:])}))
        assert paired.basis == "common reference"
        return ratio_of(paired)

    assert through((1, 1)).value == pytest.approx(1.0, rel=0.02)
    for threads in ((2, 1), ()):
        assert through(threads).value == pytest.approx(3.0, rel=0.02)


def test_a_tail_is_compared_over_the_processes_that_both_have(bench: Bench) -> None:
    a, b = bench.latency("a", 8.0, seed=1), bench.latency("b", 8.8, seed=2)
    first = b.readings[0]
    n = first.repeats.index(4)
    short = first.model_copy(
        update={
            "values": first.values[:n],
            "repeats": first.repeats[:n],
            "columns": {name: column[:n] for name, column in first.columns.items()},
        }
    )
    paired = pair(
        a, b.model_copy(update={"readings": (short, *b.readings[1:])}), TimingPoint("latency", 1, 0.9)
    )
    ratio = ratio_of(paired)
    assert ratio.low < 1.1 < ratio.high


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    value = draw(st.floats(1e-3, 1e3))
    return Interval(value, value / draw(st.floats(1, 5)), value * draw(st.floats(1, 5)))


@given(intervals(), intervals())
def test_a_ratio_of_intervals_turns_round_with_its_sides(mine: Interval, other: Interval) -> None:
    ratio, turned = divide_intervals(mine, other), divide_intervals(other, mine)
    assert np.allclose(ratio, 1 / np.array((turned.value, turned.high, turned.low)), rtol=1e-9)
    assert ratio.low <= ratio.value <= ratio.high
    # As wide as the wider of the two at least, and never wider than both together.
    assert width(ratio) >= max(width(mine), width(other)) * (1 - 1e-9)
    assert width(ratio) <= width(mine) + width(other) + 1e-9


def test_what_has_no_bound_on_one_side_has_no_bound_in_the_ratio() -> None:
    known, open_above = Interval(2.0, 1.9, 2.1), Interval(1.0, 0.5, math.inf)
    assert divide_intervals(open_above, known).high == math.inf
    assert divide_intervals(known, open_above).low == 0.0
    assert divide_intervals(Interval(1.0, 0.0, math.inf), known) == (0.5, 0.0, math.inf)


def test_the_interval_of_a_ratio_covers_the_true_ratio_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        sides = [
            quantile_intervals(
                [rng.lognormal(0, 0.1, 60) * effect for effect in rng.lognormal(0, 0.03, 6)], (0.5,)
            )[0]
            for _ in range(2)
        ]
        assert sides[0] is not None
        assert sides[1] is not None
        ratio = divide_intervals(sides[0], sides[1])
        covered += ratio.low <= 1.0 <= ratio.high
    assert covered / 400 >= 0.93
