"""Small disks that fill up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, limit: str) -> Iterator[None]:
    """A file system in memory, mounted on a folder; where none can be mounted, the test is skipped.

    Args:
        place: The folder.
        limit: As mount takes it, such as ``size=64k`` or ``nr_inodes=8``.
    """
    if _mount(place, limit):
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def enlarge(place: Path) -> None:
    """Give a small disk space again."""
    assert not _mount(place, "remount,size=100m,nr_inodes=0")


def _mount(place: Path, options: str) -> int:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode
