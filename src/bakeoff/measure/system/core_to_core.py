"""Core-to-core latency: how quickly the CPUs of this machine pass data to each other.

A host may place the CPUs of a virtual machine beside each other or far apart, and move them meanwhile.
Threads that share one call then wait for each other's data several times as long, and a model with two
threads becomes slower by a third, for seconds or minutes. Nothing in the guest counts that: no waiting, no
stolen time, and work that stays on one CPU is as fast as ever. But it can be seen, in a fraction of a
millisecond and almost without noise: write to an array on one CPU, go to the next, and write to it there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

# Fits into the second cache of any CPU of today, so that what is timed is the way from cache to cache.
ARRAY_BYTES = 256 * 1024
LAPS = 4
MAX_CPUS = 8


def make_core_to_core_probe(cpus: Sequence[int] | None) -> Callable[[], int | None]:
    """A probe that reads how long the array takes from one CPU to the next, in ns.

    It keeps its thread busy for about 40 µs a hop, so nothing may be timed meanwhile. The thread may use the
    CPUs that it might use before when it returns.

    Args:
        cpus: On which candidates run; None means all that this process may use. Of many, eight at most are
            visited.

    Returns:
        A function of the quickest lap, divided by its hops: other work in between slows some laps, CPUs that
        are apart slow all of them. It returns None where there is one CPU only, or the system does not let a
        thread choose its CPU.
    """
    if not hasattr(os, "sched_setaffinity"):
        return lambda: None
    usable = sorted(cpus or os.sched_getaffinity(0))
    visited = usable[:: -(-len(usable) // MAX_CPUS)]
    if len(visited) < 2:  # noqa: PLR2004 - from one to another
        return lambda: None
    array = np.zeros(ARRAY_BYTES // 8)

    def hop(cpu: int) -> int:
        os.sched_setaffinity(0, {cpu})
        begin_ns = time.perf_counter_ns()
        np.add(array, 1.0, out=array)
        return time.perf_counter_ns() - begin_ns

    def probe() -> int | None:
        home = os.sched_getaffinity(0)
        try:
            hop(visited[-1])  # the array may lie anywhere before
            laps = [sum(hop(cpu) for cpu in visited) for _ in range(LAPS)]
        except OSError:  # a CPU was taken away from us
            return None
        finally:
            with suppress(OSError):  # a system that lets no thread choose has not moved it either
                os.sched_setaffinity(0, home)
        return round(min(laps) / len(visited))

    return probe
