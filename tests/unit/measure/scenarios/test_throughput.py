"""Documents per second, from passes to their interval: against the same figure reckoned in another way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bakeoff.core.estimate import estimate_of
from bakeoff.measure.statistics.intervals import Interval
from bakeoff.measure.statistics.readings import (
    APART,
    COUNTED,
    DIRTY,
    LATE,
    NS_PER_MS,
    NS_PER_S,
    PASS,
    Reading,
)
from reckoning import Known, reckon_half_width


class Round(NamedTuple):
    """The passes of one round, and why it does not count."""

    passes_ns: list[float]
    why: int = COUNTED


Repeats = Sequence[Sequence[Round]]

PASSES = st.lists(st.floats(1e5, 1e10), min_size=1, max_size=4)
ROUNDS = st.builds(Round, PASSES, st.sampled_from([COUNTED, COUNTED, DIRTY, LATE, APART]))
REPEATS = st.lists(st.lists(ROUNDS, min_size=1, max_size=5), min_size=1, max_size=6)


def read(repeats: Repeats, n_documents: int) -> Reading:
    rows = [
        (repeat, number, each.why, pass_ns)
        for repeat, rounds in enumerate(repeats)
        for number, each in enumerate(rounds)
        for pass_ns in each.passes_ns
    ]
    return Reading(
        quantity=PASS,
        unit="ns",
        at={"batch_size": 32},
        values=tuple(pass_ns for *_, pass_ns in rows),
        repeats=tuple(repeat for repeat, *_ in rows),
        columns={
            "round": tuple(number for _, number, _, _ in rows),
            "left_out": tuple(why for _, _, why, _ in rows),
            "n_documents": (n_documents,) * len(rows),
        },
    )


def reckon(repeats: Repeats, n_documents: int) -> tuple[float, float, float] | None:
    """Rate, low and high, in plain arithmetic."""
    in_steady_state = [each.why for rounds in repeats for each in rounds if each.why != LATE]
    # Where more than half were disturbed, those count too.
    counting = {COUNTED, DIRTY} if 2 * in_steady_state.count(DIRTY) > len(in_steady_state) else {COUNTED}
    logs = []
    for rounds in repeats:
        rates = [
            n_documents * len(each.passes_ns) / (math.fsum(each.passes_ns) / 1_000_000_000)
            for each in rounds
            if each.why in counting
        ]
        if rates:
            logs.append(statistics.median(map(math.log, rates)))
    if not logs:
        return None
    middle = statistics.fmean(logs)
    if len(logs) == 1:
        return math.exp(middle), 0.0, math.inf
    half = reckon_half_width(logs, Known("time", [statistics.variance(logs)], len(logs) - 1))
    # Where half of the rounds are left out, or a process, the interval holds what all of them say, too.
    steady = [[each for each in rounds if each.why != LATE] for rounds in repeats]
    n_all, n_used = (
        sum(len(each.passes_ns) for rounds in steady for each in rounds if each.why in kinds)
        for kinds in ({COUNTED, DIRTY, APART}, counting)
    )
    is_one_lost = any(rounds and not any(each.why in counting for each in rounds) for rounds in steady)
    moved = 0.0
    if is_one_lost or 2 * n_used <= n_all:
        of_all, of_used = (
            statistics.median(
                ns for rounds in steady for each in rounds if each.why in kinds for ns in each.passes_ns
            )
            for kinds in ({COUNTED, DIRTY, APART}, counting)
        )
        moved = math.log(of_used / of_all)
    low, high = middle - half + min(moved, 0), middle + half + max(moved, 0)
    return math.exp(middle), math.exp(low), math.exp(min(high, 700))


@given(REPEATS, st.integers(1, 4096))
@example([[Round([1e9])]], 100)
@example([[Round([1e9], DIRTY), Round([2e9], DIRTY), Round([4e9])], [Round([1e9])]], 64)
@example([[Round([1e9], LATE), Round([5e8], APART)]], 64)
def test_documents_per_second_are_those_of_the_counted_rounds(repeats: Repeats, n_documents: int) -> None:
    found, expected = read(repeats, n_documents).throughput(), reckon(repeats, n_documents)
    if found is None or expected is None:
        assert found is expected is None
        return
    assert found.value == pytest.approx(expected[0], rel=1e-9)
    if expected[1] == 0:
        assert (found.low, found.high) == (0, math.inf)
        return
    # Of the instrument's grid a few points that weigh next to nothing are left out.
    for end, other in ((found.low, expected[1]), (found.high, expected[2])):
        assert math.log(min(end, math.exp(700)) / found.value) == pytest.approx(
            math.log(other / found.value), rel=2e-3
        )


@given(st.integers(1, 512), st.floats(1e3, 1e10), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4))
def test_throughput_of_a_backend_that_never_varies_is_batch_over_latency(
    batch_size: int, latency_ns: float, n_repeats: int, n_rounds: int, n_passes: int
) -> None:
    repeats = [[Round([latency_ns] * n_passes)] * n_rounds] * n_repeats
    found = read(repeats, batch_size).throughput()
    assert found is not None
    assert found.value == pytest.approx(batch_size / (latency_ns / 1e9), rel=1e-9)
    # Two that were alike do not prove that the next one is: the interval is narrow, and not a point. With
    # more of them it closes in.
    if n_repeats > 1:
        assert found.low * found.high == pytest.approx(found.value**2, rel=1e-9)
        assert 0 < found.half_width_ratio < (0.05, 0.01, 0.005, 0.002, 0.002)[n_repeats - 2]


def test_a_pass_of_half_a_second_over_64_documents_is_128_documents_per_second() -> None:
    found = read([[Round([500_000_000.0, 500_000_000.0])]] * 3, 64).throughput()
    assert found is not None
    assert found.value == pytest.approx(128.0)


# --- units ---


@pytest.mark.parametrize(
    ("ns", "ms", "s"),
    [
        (1.0, 0.000001, 0.000000001),
        (250_000.0, 0.25, 0.00025),
        (1_500_000.0, 1.5, 0.0015),
        (2_000_000_000.0, 2000.0, 2.0),
    ],
)
def test_nanoseconds_are_told_in_milliseconds_and_in_seconds(ns: float, ms: float, s: float) -> None:
    interval = Interval(ns, ns / 2, 2 * ns)
    in_ms, in_s = estimate_of(interval, NS_PER_MS), estimate_of(interval, NS_PER_S)
    assert (in_ms.value, in_ms.low, in_ms.high) == pytest.approx((ms, ms / 2, 2 * ms), rel=1e-12)
    assert (in_s.value, in_s.low, in_s.high) == pytest.approx((s, s / 2, 2 * s), rel=1e-12)


@given(st.floats(1e-3, 1e15))
def test_a_thousand_milliseconds_are_a_second_and_no_unit_changes_how_wide_an_interval_is(ns: float) -> None:
    interval = Interval(ns, 0.9 * ns, 1.2 * ns)
    in_ms, in_s = estimate_of(interval, NS_PER_MS), estimate_of(interval, NS_PER_S)
    assert in_ms.value == pytest.approx(1000 * in_s.value, rel=1e-12)
    assert in_ms.value * 1_000_000 == pytest.approx(ns, rel=1e-12)
    assert in_ms.high is not None
    assert (in_ms.high - in_ms.value) / in_ms.value == pytest.approx(interval.half_width_ratio, rel=1e-9)
