"""The loop that all timed scenarios share: warm up until steady, then blocks in rounds.

One process of a measurement is a *generation*. In it each variant (a batch size) is warmed up, then timed in
rounds: one block of each variant a round, in an order shuffled anew for every round, so that slow drift hits
all variants alike.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from bakeoff.measure.stability import BlockSummary, is_steady, summarize_block
from bakeoff.record import Record

WARMUP_BLOCK_CALLS = 5
WARMUP_BLOCK_S = 0.02
NS_PER_S = 1_000_000_000

Clock = Callable[[], int]


class TimingProtocol(Record):
    """How timed scenarios are measured; every field is part of the benchmark key.

    Attributes:
        generations: Fresh processes; intervals come from their spread, and fewer than 5 are flagged.
        rounds: Blocks of each variant in one process.
        block_s: Aimed length of a block.
        min_calls: Least timed calls of a block.
        max_calls: Most timed calls of a block.
        warmup_min_s: Least warm-up of a variant.
        warmup_max_s: After this the warm-up is given up, and flagged.
        seed: Of all shuffling.
    """

    generations: Annotated[int, Field(ge=1, le=100)] = 5
    rounds: Annotated[int, Field(ge=1, le=1000)] = 10
    block_s: Annotated[float, Field(gt=0, le=10)] = 0.05
    min_calls: Annotated[int, Field(ge=1, le=10_000)] = 5
    max_calls: Annotated[int, Field(ge=1, le=100_000)] = 200
    warmup_min_s: Annotated[float, Field(ge=0, le=600)] = 0.5
    warmup_max_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0


class Sample(NamedTuple):
    """One timed call."""

    wall_ns: int
    cpu_ns: int
    round: int
    call: int


@dataclass(frozen=True)
class Timing:
    """What one process read of one variant."""

    samples: tuple[Sample, ...]
    first_call_ns: int
    warmup_ns: int
    is_steady: bool


# One variant of the work: called with the running number of the call, so that inputs differ between calls.
Work = Callable[[int], object]


def time_variants(
    variants: Mapping[int, Work],
    protocol: TimingProtocol,
    *,
    generation: int,
    wall: Clock = time.perf_counter_ns,
    cpu: Clock = time.process_time_ns,
) -> dict[int, Timing]:
    """Warm up and time each variant in this process.

    Args:
        variants: The work of each variant, by a number that names it.
        protocol: Rounds, block length, warm-up.
        generation: Number of this process; decides the shuffling together with the seed.
        wall: Clock of the samples, in ns.
        cpu: CPU time of this process, in ns; read outside the wall-clock pair.

    Returns:
        The samples of each variant, in the order of taking.
    """
    warm = {name: _warm_up(work, protocol, wall) for name, work in variants.items()}
    calls = {name: _calls_per_block(state, protocol) for name, state in warm.items()}
    samples: dict[int, list[Sample]] = {name: [] for name in variants}
    shuffler = random.Random(f"{protocol.seed}:{generation}")  # noqa: S311 - an order, not a secret
    for round_number in range(protocol.rounds):
        for name in _shuffled(list(variants), shuffler):
            work = variants[name]
            start = len(samples[name])
            with _garbage_collection_paused():
                work(start)  # the first call after a change of variant runs on cold caches: never timed
                for call in range(start, start + calls[name]):
                    cpu_start = cpu()
                    wall_start = wall()
                    work(call)
                    wall_end = wall()
                    samples[name].append(Sample(wall_end - wall_start, cpu() - cpu_start, round_number, call))
    return {
        name: Timing(tuple(samples[name]), state.first_call_ns, state.warmup_ns, state.is_steady)
        for name, state in warm.items()
    }


@dataclass(frozen=True)
class _Warm:
    first_call_ns: int
    warmup_ns: int
    median_ns: float
    is_steady: bool


def _warm_up(work: Work, protocol: TimingProtocol, wall: Clock) -> _Warm:
    begin = wall()
    work(0)
    first_call_ns = wall() - begin
    blocks: list[BlockSummary] = []
    call = 1
    while True:
        block_start = wall()
        durations: list[int] = []
        while len(durations) < WARMUP_BLOCK_CALLS or wall() - block_start < WARMUP_BLOCK_S * NS_PER_S:
            start = wall()
            work(call)
            durations.append(wall() - start)
            call += 1
        blocks.append(summarize_block(np.maximum(np.asarray(durations, dtype=np.float64), 1.0)))
        elapsed_s = (wall() - begin) / NS_PER_S
        steady = is_steady(blocks)
        if (steady and elapsed_s >= protocol.warmup_min_s) or elapsed_s >= protocol.warmup_max_s:
            return _Warm(first_call_ns, wall() - begin, blocks[-1].median, steady)


def _calls_per_block(state: _Warm, protocol: TimingProtocol) -> int:
    wanted = math.ceil(protocol.block_s * NS_PER_S / state.median_ns)
    return min(max(wanted, protocol.min_calls), max(protocol.max_calls, protocol.min_calls))


def _shuffled(names: Sequence[int], shuffler: random.Random) -> list[int]:
    return shuffler.sample(list(names), k=len(names))


class _garbage_collection_paused:  # noqa: N801 - reads as a with-clause
    def __enter__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
        gc.unfreeze()
