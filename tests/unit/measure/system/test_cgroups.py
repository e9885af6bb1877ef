"""Limits of control groups: the tightest on the way up holds, wherever this process lies."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bakeoff.measure.system.cgroups import (
    count_whole_cpus,
    find_throttle_files,
    read_cpu_quota,
    read_memory_left_bytes,
    read_memory_limit_bytes,
    read_throttling,
)

GIB = 1024**3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A slice with a service in it, as a system manager makes them."""
    service = tmp_path / "groups" / "batch.slice" / "job.service"
    service.mkdir(parents=True)
    (tmp_path / "member").write_text("1:name=systemd:/old\n0::/batch.slice/job.service\n")
    return tmp_path / "groups"


def member(root: Path) -> Path:
    return root.parent / "member"


def test_without_a_limit_there_is_none(root: Path) -> None:
    (root / "batch.slice" / "cpu.max").write_text("max 100000\n")
    (root / "batch.slice" / "memory.max").write_text("max\n")
    assert read_cpu_quota(root, member(root)) is None
    assert read_memory_limit_bytes(root, member(root)) is None
    assert read_memory_left_bytes(root, member(root)) == math.inf


def test_the_tightest_group_holds_also_where_it_lies_above_ours(root: Path) -> None:
    (root / "batch.slice" / "cpu.max").write_text("150000 100000\n")
    (root / "batch.slice" / "job.service" / "cpu.max").write_text("400000 100000\n")
    assert read_cpu_quota(root, member(root)) == 1.5


def test_memory_that_is_left_counts_what_the_kernel_can_drop(root: Path) -> None:
    service = root / "batch.slice" / "job.service"
    (service / "memory.max").write_text(f"{4 * GIB}\n")
    (service / "memory.current").write_text(f"{3 * GIB}\n")
    (service / "memory.stat").write_text(f"anon {GIB}\ninactive_file {GIB}\n")
    (root / "batch.slice" / "memory.max").write_text(f"{8 * GIB}\n")
    (root / "batch.slice" / "memory.current").write_text(f"{3 * GIB}\n")
    assert read_memory_left_bytes(root, member(root)) == 2 * GIB
    assert read_memory_limit_bytes(root, member(root)) == 4 * GIB


def test_in_a_container_the_root_is_its_own_group(tmp_path: Path) -> None:
    (tmp_path / "member").write_text("0::/../../host/path\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert read_cpu_quota(tmp_path, tmp_path / "member") == 0.5


# --- version 1: one tree for each controller -------------------------------------------------------------

NO_LIMIT = "9223372036854771712\n"
MEMBER_OF_BOTH = """12:cpuset:/docker/abc
5:cpu,cpuacct:/docker/abc
4:memory:/docker/abc
1:name=systemd:/docker/abc
0::/docker/abc
"""


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def v1(tmp_path: Path, cpu: str = "cpu,cpuacct") -> tuple[Path, Path]:
    """A host without limits of its own, and a container on it that has a quota and a limit."""
    root = tmp_path / "cgroup"
    write(root / cpu, cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    write(root / cpu / "docker", cpu__cfs_quota_us="150000\n", cpu__cfs_period_us="100000\n")
    write(
        root / cpu / "docker" / "abc",
        cpu__cfs_quota_us="50000\n",
        cpu__cfs_period_us="100000\n",
        cpu__stat="nr_periods 100\nnr_throttled 40\nthrottled_time 2000000000\n",
    )
    write(root / "memory", memory__limit_in_bytes=NO_LIMIT, memory__usage_in_bytes=f"{9 * GIB}\n")
    write(
        root / "memory" / "docker" / "abc",
        memory__limit_in_bytes=f"{2 * GIB}\n",
        memory__usage_in_bytes=f"{GIB}\n",
        memory__stat=f"inactive_file 0\nhierarchical_memory_limit {2 * GIB}\n"
        f"total_inactive_file {GIB // 2}\n",
    )
    (tmp_path / "member").write_text(MEMBER_OF_BOTH)
    return root, tmp_path / "member"


@pytest.mark.parametrize("cpu", ["cpu,cpuacct", "cpu"])
def test_limits_of_version_1_are_read(tmp_path: Path, cpu: str) -> None:
    root, membership = v1(tmp_path, cpu)
    assert read_cpu_quota(root, membership) == 0.5
    assert read_memory_limit_bytes(root, membership) == 2 * GIB
    assert read_memory_left_bytes(root, membership) == 1.5 * GIB


def test_a_tighter_group_around_holds_in_version_1(tmp_path: Path) -> None:
    root, membership = v1(tmp_path)
    write(root / "cpu,cpuacct" / "docker", cpu__cfs_quota_us="20000\n")
    write(root / "memory" / "docker", memory__limit_in_bytes=f"{GIB}\n", memory__usage_in_bytes="0\n")
    assert read_cpu_quota(root, membership) == 0.2
    assert read_memory_limit_bytes(root, membership) == GIB


def test_a_group_around_that_a_container_does_not_see_holds(tmp_path: Path) -> None:
    """The kernel writes it into the statistics of the group that the container sees as its root."""
    write(
        tmp_path / "memory",
        memory__limit_in_bytes=NO_LIMIT,
        memory__usage_in_bytes="0\n",
        memory__stat=f"hierarchical_memory_limit {GIB}\n",
    )
    (tmp_path / "member").write_text("4:memory:/kubepods/pod1/abc\n")
    assert read_memory_limit_bytes(tmp_path, tmp_path / "member") == GIB
    assert read_memory_left_bytes(tmp_path, tmp_path / "member") == GIB


def test_version_1_without_limits_has_none(tmp_path: Path) -> None:
    write(tmp_path / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    write(tmp_path / "memory", memory__limit_in_bytes=NO_LIMIT, memory__usage_in_bytes="1\n")
    (tmp_path / "member").write_text("2:cpu:/\n1:memory:/\n0::/\n")
    place = tmp_path, tmp_path / "member"
    assert read_cpu_quota(*place) is None
    assert find_throttle_files(*place) == ()
    assert read_memory_limit_bytes(*place) is None
    assert read_memory_left_bytes(*place) == math.inf


def test_with_both_versions_at_once_the_tightest_limit_holds(tmp_path: Path) -> None:
    root, membership = v1(tmp_path)
    write(root / "unified" / "docker" / "abc", cpu__max="25000 100000\n", memory__max=f"{GIB}\n")
    assert read_cpu_quota(root, membership) == 0.25
    assert read_memory_limit_bytes(root, membership) == GIB


@pytest.mark.parametrize(
    ("quota", "expected"), [(None, 8), (0.5, 1), (1.0, 1), (1.5, 1), (2.0, 2), (2.99, 2), (99.0, 8)]
)
def test_a_quota_gives_as_many_threads_as_it_has_whole_cpus(quota: float | None, expected: int) -> None:
    assert count_whole_cpus(8, quota) == expected


# --- throttling ------------------------------------------------------------------------------------------


def test_throttling_is_read_where_a_quota_is_in_both_versions(tmp_path: Path, root: Path) -> None:
    v1_root, membership = v1(tmp_path / "v1")
    v1_files = find_throttle_files(v1_root, membership)
    assert [path.parent.name for path in v1_files] == ["abc", "docker"]
    assert read_throttling(v1_files) == (40, 2_000_000_000)
    service = root / "batch.slice" / "job.service"
    statistics = "usage_usec 1\nnr_periods 9\nnr_throttled 7\nthrottled_usec 350000\n"
    write(service, cpu__max="150000 100000\n", cpu__stat=statistics)
    write(root / "batch.slice", cpu__max="max 100000\n", cpu__stat=statistics)
    assert read_throttling(find_throttle_files(root, member(root))) == (7, 350_000_000)
