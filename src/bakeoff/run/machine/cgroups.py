"""Limits of the control group that this process is in, and of all groups around it (cgroup version 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def read_cpu_quota(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float | None:
    """CPUs that this process may keep busy over time, by the tightest group; None where no group limits it.

    Args:
        root: Where the groups are mounted.
        membership: Tells the group of this process.
    """
    quotas = []
    for group in _groups(root, membership):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def read_memory_left_bytes(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float:
    """Memory that this process may still take, by the tightest group, in bytes; infinite without a limit.

    Files that the kernel keeps in memory and can drop at any time are counted as free.
    """
    left_bytes = math.inf
    for group in _groups(root, membership):
        limit, used = _read(group / "memory.max"), _read(group / "memory.current")
        if limit.isdecimal() and used.isdecimal():
            droppable = _read_statistic(group / "memory.stat", "inactive_file")
            left_bytes = min(left_bytes, max(0, int(limit) - int(used) + droppable))
    return left_bytes


def read_memory_limit_bytes(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int | None:
    """Memory that the tightest group allows in all, in bytes; None where no group limits it."""
    limits = [_read(group / "memory.max") for group in _groups(root, membership)]
    return min((int(limit) for limit in limits if limit.isdecimal()), default=None)


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """The group of this process, then each that it lies in, up to the root.

    Inside a container the root is what the container sees, and the path may lead out of it; then the root
    alone is asked.
    """
    path = next((line[3:] for line in _read(membership).splitlines() if line.startswith("0::")), "/")
    parts = [part for part in path.split("/") if part]
    if ".." not in parts:
        for depth in range(len(parts), 0, -1):
            yield root.joinpath(*parts[:depth])
    yield root


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _read_statistic(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return 0
