"""Control groups: limits of this process's group and of all groups around it, in both versions of Linux.

Version 2 has one tree of groups. Version 1 has one for each controller, mounted next to each other. A system
may use both at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# Mount point of version 2 next to controllers of version 1.
_UNIFIED = "unified"
# Version 1 has no word for "no limit": it writes the largest multiple of a page below 2^63.
_NO_LIMIT_BYTES = 1 << 62
_NS_PER_US = 1000


def count_whole_cpus(n_cpus: int, quota: float | None) -> int:
    """Count the CPUs that as many threads can keep busy: whole ones only, and one at least.

    A thread more than the quota has whole CPUs would be stopped in every period.

    Args:
        n_cpus: CPUs on which the process may run.
        quota: CPUs that it may keep busy over time; None without a limit.
    """
    return n_cpus if quota is None else max(1, min(n_cpus, math.floor(quota)))


def read_cpu_quota(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float | None:
    """Return the CPUs that this process may keep busy over time, by the tightest group; None without a limit.

    Args:
        root: Mount point of the groups.
        membership: File that names the groups of this process.
    """
    quotas = (_read_quota(group) for group in _list_groups("cpu", root, membership))
    return min((quota for quota in quotas if quota is not None), default=None)


def find_throttle_files(root: Path = ROOT, membership: Path = MEMBERSHIP) -> tuple[Path, ...]:
    """Find the files that count how often a CPU quota stopped this process; none without a quota."""
    groups = (group for group in _list_groups("cpu", root, membership) if _read_quota(group) is not None)
    return tuple(group / "cpu.stat" for group in groups)


def read_throttling(files: Sequence[Path]) -> tuple[int, int]:
    """Return how often quotas stopped their groups, and for how long in ns, summed over CPUs.

    Args:
        files: Files of ``find_throttle_files``.
    """
    n_times = stopped_ns = 0
    for path in files:
        statistics = _read_statistics(path)
        n_times += statistics.get("nr_throttled", 0)
        # Version 1 counts in ns, version 2 in µs.
        stopped_ns += statistics.get("throttled_time", statistics.get("throttled_usec", 0) * _NS_PER_US)
    return n_times, stopped_ns


def read_memory_left_bytes(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float:
    """Return the memory that this process may still take, in bytes; infinite without a limit.

    The tightest group counts, and cached files that the kernel can drop at any time are free.
    """
    left_bytes = math.inf
    for group in _list_groups("memory", root, membership):
        limit_bytes = _read_memory_limit(group)
        used = _read(group / "memory.current") or _read(group / "memory.usage_in_bytes")
        if limit_bytes is not None and used.isdecimal():
            statistics = _read_statistics(group / "memory.stat")
            # Version 1 counts the groups inside under a second name.
            droppable_bytes = statistics.get("total_inactive_file", statistics.get("inactive_file", 0))
            left_bytes = min(left_bytes, max(0, limit_bytes - int(used) + droppable_bytes))
    return left_bytes


def read_memory_limit_bytes(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int | None:
    """Return the memory that the tightest group allows in all, in bytes; None without a limit."""
    limits = (_read_memory_limit(group) for group in _list_groups("memory", root, membership))
    return min((limit for limit in limits if limit is not None), default=None)


def _read_quota(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    if quota.isdecimal() and period.isdecimal() and int(period):
        return int(quota) / int(period)
    return None  # "max" in version 2, "-1" in version 1


def _read_memory_limit(group: Path) -> int | None:
    limits = [_read(group / "memory.max"), _read(group / "memory.limit_in_bytes")]
    found = [int(limit) for limit in limits if limit.isdecimal()]
    if found and not limits[0]:
        # Version 1 also has the limit of groups around that a container does not see.
        found.append(
            _read_statistics(group / "memory.stat").get("hierarchical_memory_limit", _NO_LIMIT_BYTES)
        )
    return min((limit for limit in found if limit < _NO_LIMIT_BYTES), default=None)


def _list_groups(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """List the group of this process, then each group around it, up to the root; in both versions.

    A container sees its own root, and the path may lead out of it. Then only the root is read.
    """
    for line in _read(membership).splitlines() or ["0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            top = root / _UNIFIED if (root / _UNIFIED).is_dir() else root
        elif controller in controllers.split(","):
            top = root / controllers if (root / controllers).is_dir() else root / controller
        else:
            continue
        yield from _climb(top, path)


def _climb(top: Path, path: str) -> Iterator[Path]:
    parts = [part for part in path.split("/") if part]
    if ".." not in parts:
        for depth in range(len(parts), 0, -1):
            yield top.joinpath(*parts[:depth])
    yield top


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _read_statistics(path: Path) -> dict[str, int]:
    """Read a file with a name and a number on each line."""
    rows = (line.partition(" ") for line in _read(path).splitlines())
    return {name: int(value) for name, _, value in rows if value.isdecimal()}
