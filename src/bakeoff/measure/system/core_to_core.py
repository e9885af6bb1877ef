"""Core-to-core latency: the time that data takes from one CPU of this machine to another.

A host may place the CPUs of a virtual machine close together or far apart, and move them at any time. Far
apart, threads that share one call wait several times as long for each other's data. A model with two threads
becomes slower by a third, for seconds or minutes. No counter in the guest shows it: nothing waits, no time is
stolen, and work on a single CPU keeps its speed. A probe shows it in a fraction of a millisecond and almost
without noise: write to an array on one CPU, move to the next, and write to it there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

# Fits into the second-level cache of any current CPU, so that the way from cache to cache is timed.
ARRAY_BYTES = 256 * 1024
LAPS = 4
MAX_CPUS = 8


def make_core_to_core_probe(cpus: Sequence[int] | None) -> Callable[[], int | None]:
    """Make a probe that reads how long the array takes from one CPU to the next, in ns.

    The probe keeps its thread busy for about 40 µs per hop, so nothing may be timed meanwhile. It gives the
    thread its CPUs back before it returns.

    Args:
        cpus: CPUs that candidates run on; None means all that this process may use. The probe visits at most
            eight of them.

    Returns:
        Probe that returns the fastest lap divided by its hops: other work slows some laps, distant CPUs slow
        all of them. It returns None with a single CPU, or if the system lets no thread choose its CPU.
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
        except OSError:  # a CPU was taken away from this process
            return None
        finally:
            with suppress(OSError):  # a system that lets no thread choose has not moved it either
                os.sched_setaffinity(0, home)
        return round(min(laps) / len(visited))

    return probe
