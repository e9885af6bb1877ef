"""Whether processes still live, told the same by every test."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil

PATIENCE_S = 300.0
LOOK_S = 0.05


def is_alive(process: psutil.Process | int) -> bool:
    """Whether a process runs; one that ended does not, also while nobody has asked how.

    Args:
        process: Or its id. It may end at any moment, also while it is looked at.
    """
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.is_running() and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def find_survivors(processes: Iterable[psutil.Process | int]) -> list[psutil.Process | int]:
    """Wait until all processes have ended; returns those that have not after all our patience."""
    deadline = time.monotonic() + PATIENCE_S
    alive = [process for process in processes if is_alive(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(LOOK_S)
        alive = [process for process in alive if is_alive(process)]
    return alive
