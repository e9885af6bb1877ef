"""What a fork server and its client share: requests, answers, and the process that comes of one."""

from __future__ import annotations

import os
import select
import signal
import struct
from collections.abc import Sequence
from dataclasses import dataclass

MOST_REQUEST_BYTES = 1 << 16
MOST_DESCRIPTORS = 8
# Answers in place of a process id.
HAS_THREADS, CANNOT_FORK = -1, -2
_NUMBER = struct.Struct("<q")


@dataclass(frozen=True)
class ForkRequest:
    """ForkRequest for a process. Descriptors travel along: standard output and error, a pipe, and any others.

    The server writes two numbers into the pipe: the process id, or a negative answer, then the exit code.

    Attributes:
        module: Module whose ``main`` the process calls; the server imports it.
        words: Arguments of ``main``. The other descriptors and the process id of the parent follow them.
        cwd: Working folder.
        preload: Functions that the server calls once, ``package.module:function`` each.
    """

    module: str
    words: Sequence[str]
    cwd: str
    preload: Sequence[str]


class ForkedProcess:
    """Process that a fork server started for us, in a process group of its own: what we use of Popen.

    Args:
        pid: Process id.
        pipe: Descriptor of the pipe into which the server writes the exit code.

    Attributes:
        pid: Process id, which is also that of its group.
        returncode: Exit code, or a negative signal number; None while it runs.
    """

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pipe = pipe

    def open_end(self) -> int:
        """Open a descriptor that can be read once the process has ended."""
        return os.dup(self._pipe)

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""
        if self.returncode is None and can_read(self._pipe, 0.0):
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Block until the process has ended, and return its exit code."""
        if self.returncode is None:
            code = read_number(self._pipe)
            # A server that writes none is dead, and the kernel kills its children.
            self.returncode = -signal.SIGKILL if code is None else code
            os.close(self._pipe)
        return self.returncode


def read_number(descriptor: int) -> int | None:
    """Read the next number from a pipe; return None if its writers are gone."""
    read = os.read(descriptor, _NUMBER.size)
    return int(_NUMBER.unpack(read)[0]) if len(read) == _NUMBER.size else None


def write_number(descriptor: int, number: int) -> None:
    """Write a number into a pipe, whole."""
    os.write(descriptor, _NUMBER.pack(number))


def can_read(descriptor: int, timeout_s: float) -> bool:
    """Wait until a descriptor can be read; return False after the time-out."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))
