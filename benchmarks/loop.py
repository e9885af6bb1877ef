"""How much a timed call costs beside a bare loop around the same call, and where the call does nothing."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable

import numpy as np
from rig import report

from bakeoff.measure.heats.records import BlockRequest
from bakeoff.measure.heats.timing import NoCounters, Variant, run_block, time_instrument

CALL_S = 1e-3
SAMPLES = 100
REPEATS = 30
MAX_SHARE = 0.01
MAX_NOOP_NS = 2000

Work = Callable[[], object]


def main() -> int:
    """Interleave both loops on one call of about a millisecond; compare the medians of each pair."""
    work = _make_work()
    variant = Variant(1, lambda _: work(), (1,), (1,))
    request = BlockRequest(variant=1, samples=SAMPLES, calls_per_sample=1, first_input=0)
    ratios = []
    for _ in range(REPEATS):
        ours = run_block(variant, request, NoCounters(), epoch_ns=0).wall_ns
        ratios.append(float(np.median(ours)) / float(np.median(_bare(work))))
    noop_ns = float(np.median(time_instrument()))
    overhead = float(np.median(ratios)) - 1
    print(f"pairs {REPEATS}, overhead {np.quantile(ratios, [0.25, 0.75]) - 1} between the quartiles")
    return report(
        "loop",
        f"{overhead:+.2%} of a call of 1 ms, {noop_ns:.0f} ns a call that does nothing",
        f"{MAX_SHARE:.0%}, {MAX_NOOP_NS} ns",
        overhead <= MAX_SHARE and noop_ns <= MAX_NOOP_NS,
    )


def _make_work() -> Work:
    """Make a fixed product that takes about as long as asked for."""
    generator = np.random.default_rng(0)
    size = 16
    while True:
        left, right = generator.random((size, size)), generator.random((size, size))

        work = functools.partial(np.einsum, "ij,jk->ik", left, right, optimize=False)
        if np.median(_bare(work, 20)) >= CALL_S * 1e9:
            return work
        size += 4


def _bare(work: Work, samples: int = SAMPLES) -> list[int]:
    times = []
    for _ in range(samples):
        begin = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - begin)
    return times


if __name__ == "__main__":
    sys.exit(main())
