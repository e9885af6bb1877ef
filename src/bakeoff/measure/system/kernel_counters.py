"""Contention: the kernel's counters of a block, and the limits above which a block counts as disturbed.

Only causes outside the model count. A slow sample with clean counters is the model's own, and stays.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bakeoff.measure.system.cgroups import find_throttle_files, read_throttling

# Share of a block: a single preemption of a millisecond is usual, and moves no median.
MAX_BLOCK_DELAY_SHARE = 0.10
MAX_STEAL_SHARE = 0.01
MAX_OTHERS_CPUS = 0.10
# As for stolen time. It is no disturbance: the model's own threads use up the quota, so no round without it
# could take the place of one with it.
MAX_THROTTLED_SHARE = 0.01
THROTTLES = "throttles"  # by the hot processor
QUOTA_STOPS = "quota_stops"
THROTTLED_NS = "throttled_ns"  # by the CPU quota of a control group
CPUS = "/sys/devices/system/cpu"
_THROTTLE_NS = "throttle_ns"  # summed over CPUs
_NS_PER_S = 1_000_000_000
_STEAL_FIELD = 7
_IDLE_FIELDS = (3, 4)  # idle and iowait
_COUNTED_FIELDS = 8  # user time includes guest time already
# /proc/stat counts in ticks of 10 ms: over a shorter time, one tick would look like a large share.
TICKED_NS = 1_000_000_000


def judge_ticks(blocks: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """Find disturbances that the kernel counts in ticks, over several blocks together.

    Blocks of less than a second in all keep the limits of a second, so that a single tick of 10 ms is not
    taken for a disturbance.

    Args:
        blocks: Counts of each block, as ``KernelCounters`` returns them.

    Returns:
        Each disturbance, with its figure and limit.
    """
    wall_ns = sum(block.get("block_ns", 0.0) for block in blocks)
    stolen_ns = sum(block.get("stolen_ns", 0.0) for block in blocks)
    # Signed: over one block, ticks err by more than others use, and the errors must cancel.
    others_ns = sum(block.get("others_ns", 0.0) for block in blocks)
    at_least_ns = max(wall_ns, TICKED_NS)
    reasons = []
    if stolen_ns > MAX_STEAL_SHARE * at_least_ns:
        share = stolen_ns / wall_ns
        reasons.append(f"the hypervisor took {share:.1%} of the time (limit {MAX_STEAL_SHARE:.0%})")
    if others_ns > MAX_OTHERS_CPUS * at_least_ns:
        cpus = others_ns / wall_ns
        reasons.append(f"other processes used {cpus:.2f} CPUs (limit {MAX_OTHERS_CPUS:g}), and none is spare")
    return tuple(reasons)


class KernelCounters:
    """Reader of Linux' counters around a block; on other systems it counts nothing.

    Args:
        threads: Threads of the measured runtime.
        cpus: Numbers of the CPUs on which this process may run; other processes matter only on these, and
            only if none is spare. A CPU quota makes no difference here: it does not bind threads to CPUs.
        throttle_files: Files that count how often a CPU quota stopped this process.
    """

    def __init__(
        self, threads: int, cpus: Collection[int], throttle_files: Sequence[Path] | None = None
    ) -> None:
        self._fills_the_machine = threads >= len(cpus)
        self._threads = min(threads, len(cpus))
        is_part = len(cpus) < (os.cpu_count() or 1)
        self._cpu_names = frozenset(f"cpu{number}" for number in cpus) if is_part else frozenset({"cpu"})
        self._quota_files = find_throttle_files() if throttle_files is None else throttle_files
        self._tick_ns = _NS_PER_S // os.sysconf("SC_CLK_TCK")
        self._at_begin: dict[str, float] = {}
        self._throttle_files = sorted(Path(CPUS).glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))

    def begin(self) -> None:
        """Note the current counts."""
        self._at_begin = self._read()

    def end(self, wall_ns: int) -> tuple[dict[str, float], tuple[str, ...]]:
        """Return the counts since ``begin``, and each disturbance with its figure and limit.

        Args:
            wall_ns: Length of the block, in ns.
        """
        now = self._read()
        counts = {name: now[name] - self._at_begin.get(name, 0.0) for name in now}
        counts["block_ns"] = float(wall_ns)
        if "busy_ns" in counts:
            # Nothing is stolen from an idle CPU: all stolen time was taken from the threads that ran.
            counts["stolen_ns"] = counts["steal_ns"] / self._threads
            if self._fills_the_machine:
                counts["others_ns"] = counts["busy_ns"] - counts["cpu_ns"]
        reasons = []
        if _THROTTLE_NS in counts:
            counts[THROTTLED_NS] = counts[_THROTTLE_NS] / self._threads  # it stops all of them
            if "run_delay_ns" in counts:
                # Some kernels count a pause by the quota as a wait for a CPU as well; other work made none.
                counts["run_delay_ns"] = max(0.0, counts["run_delay_ns"] - counts[_THROTTLE_NS])
        delay = counts.get("run_delay_ns", 0.0) / max(wall_ns, 1)
        if delay > MAX_BLOCK_DELAY_SHARE:
            reasons.append(f"waited for a CPU {delay:.1%} of the time (limit {MAX_BLOCK_DELAY_SHARE:.0%})")
        return counts, (*reasons, *judge_ticks([counts]))

    def _read(self) -> dict[str, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found = {
            "involuntary_switches": float(usage.ru_nivcsw),
            "major_faults": float(usage.ru_majflt),
            "cpu_ns": (usage.ru_utime + usage.ru_stime) * _NS_PER_S,
        }
        with suppress(OSError, ValueError, IndexError):
            found["run_delay_ns"] = _run_delay_ns()
        with suppress(OSError, ValueError, IndexError):
            fields = _read_ticks(self._cpu_names)
            busy = sum(fields[:_COUNTED_FIELDS]) - sum(fields[number] for number in _IDLE_FIELDS)
            found["busy_ns"] = float((busy - fields[_STEAL_FIELD]) * self._tick_ns)
            found["steal_ns"] = float(fields[_STEAL_FIELD] * self._tick_ns)
        if self._throttle_files:
            with suppress(OSError, ValueError):
                found[THROTTLES] = float(sum(int(path.read_text("ascii")) for path in self._throttle_files))
        if self._quota_files:
            n_stops, throttle_ns = read_throttling(self._quota_files)
            found |= {QUOTA_STOPS: float(n_stops), _THROTTLE_NS: float(throttle_ns)}
        for name in ("cpu", "memory"):
            with suppress(OSError, ValueError, IndexError):
                total_us = _first_line(f"/proc/pressure/{name}").rsplit("total=", 1)[1]
                found[f"{name}_pressure_ns"] = int(total_us) * 1000.0
        return found


def _run_delay_ns() -> float:
    """Return how long this process's threads waited in a run queue, in ns."""
    total = 0
    for task in os.scandir("/proc/self/task"):
        with suppress(OSError):  # a thread may end meanwhile
            total += int(_first_line(f"{task.path}/schedstat").split()[1])
    return float(total)


def _read_ticks(names: Collection[str], path: Path = Path("/proc/stat")) -> list[int]:
    """Return the ticks of some CPUs together, one number for each use of their time."""
    rows = []
    with path.open(encoding="ascii") as file:
        for line in file:
            name, *fields = line.split()
            if name in names:
                rows.append([int(field) for field in fields])
            if len(rows) == len(names) or not name.startswith("cpu"):
                break
    return [sum(column) for column in zip(*rows, strict=True)]


def _first_line(path: str) -> str:
    with Path(path).open(encoding="ascii") as file:
        return file.readline()
