"""Limits of control groups: the tightest on the way up holds, wherever this process lies."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bakeoff.run.machine.cgroups import read_cpu_quota, read_memory_left_bytes, read_memory_limit_bytes

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
