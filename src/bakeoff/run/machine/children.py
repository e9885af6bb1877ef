"""Process groups that this process started, so that a hurried end of it ends them too.

Imports next to nothing, since every command imports it.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

_alive: set[int] = set()


def add(leader: int) -> None:
    """Note a group by the process id of its leader."""
    _alive.add(leader)


def discard(leader: int) -> None:
    """Forget a group that is gone: its number may belong to another one later."""
    _alive.discard(leader)


def kill_all() -> None:
    """Kill every group that is left, and wait for nothing."""
    for leader in tuple(_alive):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
