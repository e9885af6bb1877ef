"""Warm-up and blocks: on a clock of our own where the numbers matter, on the real one where the code does."""

from __future__ import annotations

import dataclasses
import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.records import BlockRequest
from bakeoff.measure.heats.timing import (
    NoCounters,
    Variant,
    run_block,
    time_calibration_loop,
    time_instrument,
    warm_up,
)
from clocks import VirtualClock

N_INPUTS = 40


@dataclass
class Machine:
    """A clock that only the work moves; the duration of a call is decided by its number."""

    duration_ns: Callable[[int], float]
    now: float = 0.0
    inputs: list[int] = field(default_factory=list)

    def clock(self) -> int:
        return int(self.now)

    def call(self, number: int) -> None:
        self.now += self.duration_ns(len(self.inputs))
        self.inputs.append(number)

    def variant(self, sizes: tuple[int, ...] = (7,) * N_INPUTS) -> Variant:
        return Variant(1, self.call, sizes, sizes)


def noisy(duration_ns: Callable[[int], float], seed: int = 0, noise: float = 0.02) -> Callable[[int], float]:
    generator = np.random.default_rng(seed)
    return lambda number: duration_ns(number) * float(np.exp(generator.normal(0, noise)))


def run(machine: Machine, samples: int, *, per_sample: int = 1, first: int = 0) -> tuple[int, ...]:
    request = BlockRequest(variant=1, samples=samples, calls_per_sample=per_sample, first_input=first)
    block = run_block(
        machine.variant(), request, NoCounters(), epoch_ns=0, wall=machine.clock, cpu=machine.clock
    )
    assert len(block.cpu_ns) == len(block.wall_ns) == samples
    return block.wall_ns


# --- warm-up ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_ms", [10, 20])
def test_what_is_measured_after_a_decaying_warm_up_is_within_one_per_cent_of_the_steady_state(
    call_ms: int,
) -> None:
    # Calls so long that the least time is over while the decay is not: the rule alone has to wait for it.
    biases, n_least = [], TimingProtocol().warmup_min_s * 1e3 / call_ms
    assert 0.6 * math.exp(-n_least / 30) > 0.1
    for seed in range(20):
        machine = Machine(noisy(lambda n: call_ms * 1e6 * (1 + 0.6 * math.exp(-n / 30)), seed))
        warm = warm_up(machine.variant(), TimingProtocol(), machine.clock)
        assert warm.is_steady
        biases.append(float(np.median(run(machine, 200))) / (call_ms * 1e6) - 1)
    assert abs(float(np.mean(biases))) <= 0.01


@pytest.mark.parametrize("step_at", [60, 150])
def test_a_step_within_the_least_time_is_waited_for(step_at: int) -> None:
    machine = Machine(noisy(lambda n: 2e6 if n >= step_at else 2.6e6))
    warm = warm_up(machine.variant(), TimingProtocol(), machine.clock)
    assert warm.is_steady
    assert warm.n_calls > step_at
    assert float(np.median(run(machine, 200))) == pytest.approx(2e6, rel=0.01)


def test_a_stationary_call_is_given_free_after_the_least_time() -> None:
    machine = Machine(noisy(lambda _: 1e7))
    warm = warm_up(machine.variant(), TimingProtocol(), machine.clock)
    assert warm.is_steady
    assert warm.n_calls <= 100
    assert 0.5e9 <= warm.warmup_ns <= 1e9


def test_a_call_that_never_becomes_steady_is_given_up_and_flagged() -> None:
    machine = Machine(lambda number: 1e6 * 1.01**number)
    warm = warm_up(machine.variant(), TimingProtocol(warmup_max_s=3.0), machine.clock)
    assert not warm.is_steady
    assert warm.warmup_ns < 4e9


def test_every_size_of_input_is_visited_before_anything_is_timed() -> None:
    machine = Machine(lambda _: 1e6)
    warm_up(machine.variant(tuple(range(N_INPUTS))), TimingProtocol(warmup_min_s=0.0), machine.clock)
    assert set(machine.inputs[: N_INPUTS + 1]) == set(range(N_INPUTS))


def test_asked_for_warm_up_iterations_are_made() -> None:
    machine = Machine(lambda _: 1e7)
    warm = warm_up(machine.variant(), TimingProtocol(warmup_iterations=500), machine.clock)
    assert warm.n_calls >= 500


# --- blocks -----------------------------------------------------------------------------------------------


def test_the_first_call_of_a_block_is_not_timed() -> None:
    machine = Machine(lambda number: 9e6 if number == 0 else 1e6)
    assert run(machine, 5) == (1_000_000,) * 5
    assert len(machine.inputs) == 6


def test_the_call_that_counts_for_nothing_is_kept_beside_the_samples() -> None:
    machine = Machine(lambda number: 9e6 if number == 0 else 1e6)
    request = BlockRequest(variant=1, samples=5, calls_per_sample=1, first_input=0)
    block = run_block(machine.variant(), request, NoCounters(), epoch_ns=0, wall=machine.clock)
    assert block.run_in_ns == 9_000_000


def test_what_comes_before_a_sample_is_done_once_for_each_and_never_timed() -> None:
    machine = Machine(lambda _: 1e6)
    flushes: list[int] = []

    def flush() -> None:
        flushes.append(len(machine.inputs))
        machine.now += 50_000_000

    variant = dataclasses.replace(machine.variant(), before=flush)
    request = BlockRequest(variant=1, samples=4, calls_per_sample=1, first_input=0)
    block = run_block(variant, request, NoCounters(), epoch_ns=0, wall=machine.clock, cpu=machine.clock)
    assert block.wall_ns == (1_000_000,) * 4
    assert block.cpu_ns == (1_000_000,) * 4
    assert flushes == [1, 2, 3, 4]


def test_where_something_comes_before_each_sample_no_calls_share_one() -> None:
    """The second call of a group would find the caches that the first one filled."""
    machine = Machine(lambda _: 1000)
    flushes: list[int] = []
    variant = dataclasses.replace(machine.variant(), before=lambda: flushes.append(len(machine.inputs)))
    request = BlockRequest(variant=1, samples=4, calls_per_sample=50, first_input=0)
    block = run_block(variant, request, NoCounters(), epoch_ns=0, wall=machine.clock, cpu=machine.clock)
    assert block.wall_ns == (1000,) * 4
    assert block.calls_per_sample == 1
    assert flushes == [1, 2, 3, 4]
    assert machine.inputs == [0, 0, 1, 2, 3]


def test_inputs_follow_the_order_from_where_the_block_begins() -> None:
    machine = Machine(lambda _: 1e6)
    run(machine, 4, first=N_INPUTS - 2)
    assert machine.inputs == [N_INPUTS - 2, N_INPUTS - 2, N_INPUTS - 1, 0, 1]


def test_short_calls_share_one_reading_of_the_clock() -> None:
    machine = Machine(lambda _: 1000)
    assert run(machine, 3, per_sample=50) == (1000, 1000, 1000)
    assert len(machine.inputs) == 1 + 150


def test_no_garbage_is_collected_inside_a_block_and_it_is_again_after() -> None:
    seen: list[bool] = []
    variant = Variant(1, lambda _: seen.append(gc.isenabled()), (1,), (1,))
    request = BlockRequest(variant=1, samples=3, calls_per_sample=1, first_input=0)
    run_block(variant, request, NoCounters(), epoch_ns=0)
    assert seen == [False] * 4
    assert gc.isenabled()


def test_between_two_looks_at_the_clock_stands_nothing_but_the_call() -> None:
    """On a clock that ticks at each look: a further look would be seen."""
    clock, noted = VirtualClock(tick_ns=1000), list[int]()

    def call(number: int) -> None:
        begin = clock()
        clock.pass_by(0.001 * (number + 1))
        noted.append(clock() - begin)

    variant = Variant(1, call, (1,) * 5, (1,) * 5)
    request = BlockRequest(variant=1, samples=200, calls_per_sample=1, first_input=0)
    block = run_block(variant, request, NoCounters(), epoch_ns=0, wall=clock)
    # A tick until the call's first look, and one from its last to that after it.
    assert [wall_ns - own_ns for wall_ns, own_ns in zip(block.wall_ns, noted[1:], strict=True)] == [
        2000
    ] * 200


def test_a_spun_duration_is_recorded_and_no_shorter_than_it_really_was() -> None:
    """On the real clock: what the call itself noted, against what the block recorded."""
    noted: list[int] = []

    def spin(number: int) -> None:
        begin = time.perf_counter_ns()
        end = begin + 30_000 + 10_000 * (number % 5)
        while time.perf_counter_ns() < end:
            pass
        noted.append(time.perf_counter_ns() - begin)

    variant = Variant(1, spin, (1,) * 5, (1,) * 5)
    request = BlockRequest(variant=1, samples=200, calls_per_sample=1, first_input=0)
    begin = time.perf_counter_ns()
    block = run_block(variant, request, NoCounters(), epoch_ns=begin)
    whole = time.perf_counter_ns() - begin
    assert np.all(np.array(block.wall_ns) >= np.array(noted[1:]))
    assert sum(block.wall_ns) <= whole
    assert 0 <= block.start_ns <= whole


def test_the_instrument_and_the_calibration_loop_read_something_that_is_not_zero() -> None:
    assert np.median(time_instrument()) > 0
    assert min(time_calibration_loop()) > 0
