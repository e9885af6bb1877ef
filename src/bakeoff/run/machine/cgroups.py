"""Limits of this process's control group and of all groups around it (cgroup version 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def read_cpu_quota(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float | None:
    """Return the CPUs that this process may keep busy over time, by the tightest group; None without a limit.

    Args:
        root: Mount point of the groups.
        membership: File that names the group of this process.
    """
    quotas = []
    for group in _groups(root, membership):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def read_memory_left_bytes(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float:
    """Return the memory that this process may still take, in bytes; infinite without a limit.

    The tightest group counts, and cached files that the kernel can drop at any time are free.
    """
    left_bytes = math.inf
    for group in _groups(root, membership):
        limit, used = _read(group / "memory.max"), _read(group / "memory.current")
        if limit.isdecimal() and used.isdecimal():
            droppable = _read_statistic(group / "memory.stat", "inactive_file")
            left_bytes = min(left_bytes, max(0, int(limit) - int(used) + droppable))
    return left_bytes


def read_memory_limit_bytes(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int | None:
    """Return the memory that the tightest group allows in all, in bytes; None without a limit."""
    limits = [_read(group / "memory.max") for group in _groups(root, membership)]
    return min((int(limit) for limit in limits if limit.isdecimal()), default=None)


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """List the group of this process, then each group around it, up to the root.

    A container sees its own root, and the path may lead out of it. Then only the root is read.
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
