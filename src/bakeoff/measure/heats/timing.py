"""Timing inside the measured process: a warm-up until steady, then blocks of timed calls."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bakeoff.measure.heats.protocol import NS_PER_S, TimingProtocol
from bakeoff.measure.heats.records import Block, BlockRequest, WarmUp
from bakeoff.measure.statistics.stability import BlockSummary, is_steady, summarize_block

WARMUP_BLOCK_CALLS = 5
WARMUP_BLOCK_S = 0.02
OVERHEAD_SAMPLES = 200
CALIBRATION_SAMPLES = 15
CALIBRATION_SIZE = 64

Clock = Callable[[], int]


@dataclass(frozen=True)
class Variant:
    """Timed variant of a scenario, such as a batch size.

    Attributes:
        number: Number that identifies the variant.
        call: Runs the model on the input of this number.
        n_tokens: Tokens of each input, without padding.
        n_padded_tokens: Tokens of each input, with padding; the warm-up visits every size.
        n_documents: Documents per call.
        least_samples: Least number of samples in a block, instead of the protocol's; None keeps that one.
        before: Called before every sample, untimed; a sample is then one call, however short.
    """

    number: int
    call: Callable[[int], object]
    n_tokens: tuple[int, ...]
    n_padded_tokens: tuple[int, ...]
    n_documents: int = 1
    least_samples: int | None = None
    before: Callable[[], object] | None = None

    @property
    def n_inputs(self) -> int:
        """Length of the order of inputs, which blocks go through again and again."""
        return len(self.n_tokens)

    @property
    def one_of_each_size(self) -> tuple[int, ...]:
        """One input of each padded size, in the order of inputs."""
        first: dict[int, int] = {}
        for number, size in enumerate(self.n_padded_tokens):
            first.setdefault(size, number)
        return tuple(first.values())


class Counters(Protocol):
    """Counters of the system around a block."""

    def begin(self) -> None:
        """Note the current counts."""
        ...

    def end(self, wall_ns: int) -> tuple[dict[str, float], tuple[str, ...]]:
        """Return the counts since ``begin``, and the disturbances among them."""
        ...


def warm_up_all(
    variants: Sequence[Variant], protocol: TimingProtocol, wall: Clock = time.perf_counter_ns
) -> tuple[WarmUp, ...]:
    """Warm up every variant of a process; the variants share the least time of the process."""
    share = protocol.replace(warmup_min_s=protocol.warmup_min_s / len(variants))
    return tuple(warm_up(variant, share, wall) for variant in variants)


def warm_up(variant: Variant, protocol: TimingProtocol, wall: Clock = time.perf_counter_ns) -> WarmUp:
    """Call a variant until its block medians show no trend.

    Calls visit every input size first: runtimes with dynamic shapes compile or plan memory for each.

    Args:
        variant: Variant to warm up.
        protocol: Settings with the least and the greatest warm-up time.
        wall: Clock, in ns.
    """
    begin = wall()
    variant.call(0)
    first_call_ns = wall() - begin
    n_calls = 1
    for number in variant.one_of_each_size:
        if wall() - begin > protocol.warmup_max_s * NS_PER_S:
            break
        variant.call(number)
        n_calls += 1
    blocks: list[BlockSummary] = []
    while True:
        block_begin = wall()
        durations: list[int] = []
        while len(durations) < WARMUP_BLOCK_CALLS or wall() - block_begin < WARMUP_BLOCK_S * NS_PER_S:
            if variant.before is not None:
                variant.before()
            start = wall()
            variant.call(n_calls % variant.n_inputs)
            durations.append(wall() - start)
            n_calls += 1
        blocks.append(summarize_block(np.maximum(np.asarray(durations, dtype=np.float64), 1.0)))
        elapsed_s = (wall() - begin) / NS_PER_S
        steady = is_steady(blocks)
        is_enough = elapsed_s >= protocol.warmup_min_s and n_calls >= protocol.warmup_iterations
        if (steady and is_enough) or elapsed_s >= protocol.warmup_max_s:
            return WarmUp(
                variant=variant.number,
                first_call_ns=first_call_ns,
                warmup_ns=wall() - begin,
                n_calls=n_calls,
                median_ns=float(np.median([block.median for block in blocks[-WARMUP_BLOCK_CALLS:]])),
                is_steady=steady,
                n_tokens=variant.n_tokens,
                n_padded_tokens=variant.n_padded_tokens,
                n_documents=variant.n_documents,
                least_samples=variant.least_samples,
            )


def run_block(
    variant: Variant,
    request: BlockRequest,
    counters: Counters,
    *,
    epoch_ns: int,
    wall: Clock = time.perf_counter_ns,
    cpu: Clock = time.process_time_ns,
) -> Block:
    """Time one block.

    One call that does not count comes first: it runs on caches that another process has filled. Only the call
    is between the two readings of the wall clock; CPU time is read outside them.

    Args:
        variant: Variant to time.
        request: Number of samples and the first input.
        counters: System counters, read before and after all calls.
        epoch_ns: Zero of the block's ``start_ns``.
        wall: Clock of the samples, in ns.
        cpu: CPU time of this process, in ns.
    """
    call, before = variant.call, variant.before
    n_inputs = variant.n_inputs
    # Otherwise ``before`` would apply to the first call of a group only.
    per_sample = request.calls_per_sample if before is None else 1
    wall_ns: list[int] = []
    cpu_ns: list[int] = []
    number = request.first_input
    with _GarbageCollectionPaused():
        run_in_begin = wall()
        call(number % n_inputs)
        run_in_ns = wall() - run_in_begin
        counters.begin()
        block_begin = wall()
        for _ in range(request.samples):
            inputs = [(number + offset) % n_inputs for offset in range(per_sample)]
            number += per_sample
            if before is not None:
                before()
            cpu_begin = cpu()
            if per_sample == 1:
                only = inputs[0]
                wall_begin = wall()
                call(only)
                wall_end = wall()
            else:
                wall_begin = wall()
                for each in inputs:
                    call(each)
                wall_end = wall()
            cpu_end = cpu()
            wall_ns.append((wall_end - wall_begin) // per_sample)
            cpu_ns.append((cpu_end - cpu_begin) // per_sample)
        counts, disturbances = counters.end(wall() - block_begin)
    return Block(
        variant=variant.number,
        calls_per_sample=per_sample,
        first_input=request.first_input,
        start_ns=block_begin - epoch_ns,
        run_in_ns=run_in_ns,
        wall_ns=tuple(wall_ns),
        cpu_ns=tuple(cpu_ns),
        disturbances=disturbances,
        counters=counts,
    )


def time_instrument(wall: Clock = time.perf_counter_ns, cpu: Clock = time.process_time_ns) -> tuple[int, ...]:
    """Time samples of a call that does nothing, in ns: the instrument's own cost."""

    def nothing(_: int) -> None:
        """Do nothing."""

    variant = Variant(0, nothing, (1,), (1,))
    request = BlockRequest(variant=0, samples=OVERHEAD_SAMPLES, calls_per_sample=1, first_input=0)
    return run_block(variant, request, NoCounters(), epoch_ns=0, wall=wall, cpu=cpu).wall_ns


def time_calibration_loop(wall: Clock = time.perf_counter_ns) -> tuple[int, ...]:
    """Time a fixed matrix product repeatedly, in ns: the same work on every machine and every day.

    It uses no BLAS, whose choice of kernel and threads would differ between machines.
    """
    generator = np.random.default_rng(0)
    left = generator.random((CALIBRATION_SIZE, CALIBRATION_SIZE), dtype=np.float32)
    right = generator.random((CALIBRATION_SIZE, CALIBRATION_SIZE), dtype=np.float32)
    times = []
    for _ in range(CALIBRATION_SAMPLES + 1):
        begin = wall()
        np.einsum("ij,jk->ik", left, right, optimize=False)
        times.append(wall() - begin)
    return tuple(times[1:])


def time_each(calls: Sequence[Callable[[], object]], wall: Clock = time.perf_counter_ns) -> tuple[int, ...]:
    """Time each call, one after the other, in ns of wall time; the first also runs once before, untimed."""
    times = []
    with _GarbageCollectionPaused():
        for call in (calls[0], *calls):
            begin = wall()
            call()
            times.append(wall() - begin)
    return tuple(times[1:])


class NoCounters:
    """Counters that count nothing, for the instrument's own calibration and systems without counters."""

    def begin(self) -> None:
        """Note nothing."""

    def end(self, wall_ns: int) -> tuple[dict[str, float], tuple[str, ...]]:
        """Return no counts."""
        del wall_ns
        return {}, ()


class _GarbageCollectionPaused:
    """Pause of garbage collection, since a collection inside a timed call would not be the model's work.

    Objects that exist at the first collection stay out of later ones, so only the first takes long.
    """

    def __enter__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
