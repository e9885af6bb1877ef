"""Whole heats of processes that warm up: the rule inside a process, and what is left out afterwards, as one.

The rule looks at the calls of the warm-up and cannot know of a step that comes later; what it lets through
the truncation of the first rounds has to find. A clock that only the work moves, and the instrument as it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from bakeoff.measure.heats.assemble import assemble_readings, find_left_out
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.records import Block, BlockRequest, Finished, Heat, Started
from bakeoff.measure.heats.run import run_heat
from bakeoff.measure.heats.timing import NoCounters, Variant, run_block, warm_up
from bakeoff.measure.statistics.readings import LATE, LATENCY

from ..simulated_heats import make_protocol

SIZES = (7,) * 40
PROTOCOL = make_protocol(
    min_repeats=5, max_repeats=5, rounds=10, min_calls=5, max_calls=200, warmup_min_s=0.5
)


@dataclass
class Process:
    """A process whose calls take what their number since its start says, with a noise of 2 %."""

    duration_ns: Callable[[int], float]
    seed: int = 0
    protocol: TimingProtocol = PROTOCOL
    name: str = "a"
    now_ns: float = 0.0
    n_calls: int = 0
    n_warm: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = np.random.default_rng(self.seed)
        self.variant = Variant(1, self.call, SIZES, SIZES)

    def clock(self) -> int:
        return int(self.now_ns)

    def call(self, _: int) -> None:
        self.now_ns += self.duration_ns(self.n_calls) * math.exp(self.generator.normal(0, 0.02))
        self.n_calls += 1

    def begin(self, _: int) -> None:
        """Nothing to import."""

    def wait_imported(self, _: float) -> int | None:
        return 0

    def start(self, _: int) -> Started:
        self.n_calls = 0
        warm = warm_up(self.variant, self.protocol, self.clock)
        self.n_warm.append(warm.n_calls)
        return Started(warm_ups=(warm,))

    def run_block(self, request: BlockRequest) -> Block:
        return run_block(self.variant, request, NoCounters(), epoch_ns=0, wall=self.clock, cpu=self.clock)

    def finish(self) -> Finished:
        return Finished()

    def kill(self) -> None:
        """Nothing to end."""


def hold(process: Process) -> Heat:
    return run_heat([process], process.protocol, now_s=lambda: process.now_ns / 1e9)


def median_ns(heat: Heat) -> float:
    latency = next(row for row in assemble_readings(heat, "a") if row.quantity == LATENCY)
    found = latency.quantile(0.5)
    assert found is not None
    return found.value


@pytest.mark.parametrize(
    ("step_at", "height", "call_ms"), [(60, 1.33, 10.0), (60, 1.33, 20.0), (150, 1.11, 4.2)]
)
def test_a_step_that_comes_after_the_warm_up_is_left_out_of_the_median(
    step_at: int, height: float, call_ms: float
) -> None:
    biases = []
    for seed in range(4):
        process = Process(lambda n: call_ms * 1e6 * (1.0 if n >= step_at else height), seed)
        heat = hold(process)
        assert max(process.n_warm) < step_at  # the rule in the process did not see it
        assert LATE in find_left_out(heat.repeats).values()
        biases.append(median_ns(heat) / (call_ms * 1e6) - 1)
    assert max(map(abs, biases)) <= 0.01


@pytest.mark.parametrize(("call_ms", "most"), [(4.0, 0.01), (5.0, 0.01), (10.0, 0.03), (20.0, 0.03)])
def test_a_decay_leaves_no_more_in_the_median_than_the_rule_lets_through(call_ms: float, most: float) -> None:
    """Where a process makes only some 60 calls after its warm-up, they lie in the tail of the decay."""
    biases = [
        median_ns(hold(Process(lambda n: call_ms * 1e6 * (1 + 0.6 * math.exp(-n / 30)), seed)))
        / (call_ms * 1e6)
        - 1
        for seed in range(4)
    ]
    assert float(np.mean(biases)) <= most


def test_very_short_calls_after_a_flush_of_the_caches_are_timed_one_by_one() -> None:
    """Together they would share one flush, and all but the first would find warm caches."""
    flushed_at: list[int] = []
    process = Process(lambda n: 5_000.0 if flushed_at and flushed_at[-1] == n else 1_000.0)
    process.variant = dataclasses.replace(process.variant, before=lambda: flushed_at.append(process.n_calls))
    process.protocol = make_protocol(warmup_min_s=0.0, min_calls=20, max_calls=20)
    heat = hold(process)
    latency = next(row for row in assemble_readings(heat, "a") if row.quantity == LATENCY)
    assert set(latency.columns["calls_per_sample"]) == {1}
    assert not latency.is_grouped
    assert median_ns(heat) == pytest.approx(5_000, rel=0.01)
