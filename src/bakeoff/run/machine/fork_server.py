"""Fork server: it imports libraries once, and each request gets a fork of it as its process.

Started as ``python -m bakeoff.run.machine.fork_server SOCKET FOLDER`` it reads requests until its parent
closes the socket. Then it ends at once, with all its children. It only imports: it computes nothing, loads no
model and runs no code of a user, so nothing but modules passes from one fork to the next.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

from bakeoff.run.machine.forked import (
    CANNOT_FORK,
    HAS_THREADS,
    MOST_DESCRIPTORS,
    MOST_REQUEST_BYTES,
    ForkRequest,
    write_number,
)
from bakeoff.run.machine.processes import die_with_parent

# Threads of allocators that prepare themselves for a fork: jemalloc's, which pyarrow brings.
_SAFE_THREADS = frozenset({"jemalloc_bg_thd"})


def main(words: list[str]) -> NoReturn:
    """Serve until the parent closes the socket."""
    with socket.socket(fileno=int(words[0])) as requests:
        requests.set_inheritable(False)
        _Server(requests).serve()
    shutil.rmtree(words[1], ignore_errors=True)
    os._exit(0)  # a regular end would wait for the children, which have been killed


@dataclass(frozen=True)
class _Child:
    process: BaseProcess
    pipe: int


class _Server:
    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._children: dict[int, _Child] = {}
        self._preloaded: set[str] = set()
        self._has_threads = False
        self._poller = select.poll()
        self._poller.register(requests, select.POLLIN)

    def serve(self) -> None:
        """Answer until the end of the requests; no child is left then."""
        while True:
            for descriptor, _ in self._poller.poll():
                if descriptor in self._children:
                    self._note_end(descriptor)
                elif not self._answer():
                    self._kill_all()
                    return

    def _answer(self) -> bool:
        """Answer the next request; return False if there will be none."""
        text, descriptors, _, _ = socket.recv_fds(
            self._requests, MOST_REQUEST_BYTES, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not text:
            return False
        stdout, stderr, pipe, *passed = descriptors
        request = ForkRequest(**json.loads(text))
        self._preload(request)
        child = None if self._has_threads else self._fork(request, (stdout, stderr), passed)
        for descriptor in (stdout, stderr, *passed):
            os.close(descriptor)
        if child is None:
            self._say(pipe, HAS_THREADS if self._has_threads else CANNOT_FORK)
            os.close(pipe)
        elif self._say(pipe, child.pid or 0):
            descriptor = os.pidfd_open(child.pid or 0)
            self._children[descriptor] = _Child(child, pipe)
            self._poller.register(descriptor, select.POLLIN)
        else:  # the client has given up
            os.killpg(child.pid or 0, signal.SIGKILL)
            child.join()
            os.close(pipe)
        return True

    def _preload(self, request: ForkRequest) -> None:
        """Import the module, and call what is asked for; errors are those of the fork, which tries again."""
        new = [name for name in (request.module, *request.preload) if name not in self._preloaded]
        if not new:
            return
        gc.disable()  # imports make thousands of modules, and none of them is garbage
        for name in new:
            self._preloaded.add(name)
            module, _, function = name.partition(":")
            with suppress(Exception):
                imported = importlib.import_module(module)
                if function:
                    getattr(imported, function)()
        gc.enable()
        gc.freeze()  # a collection in a fork would copy the memory of all modules
        self._has_threads = _has_threads()

    def _fork(
        self, request: ForkRequest, outputs: Sequence[int], passed: Sequence[int]
    ) -> BaseProcess | None:
        child = multiprocessing.get_context("fork").Process(
            target=self._carry_out, args=(request, outputs, passed, os.getpid())
        )
        try:
            child.start()
        except OSError:  # no memory, or as many processes as the system allows
            return None
        # The fork does the same: whichever comes first, the group is there for all that follows.
        with suppress(ProcessLookupError):
            os.setpgid(child.pid or 0, child.pid or 0)
        return child

    def _carry_out(
        self, request: ForkRequest, outputs: Sequence[int], passed: Sequence[int], server_pid: int
    ) -> NoReturn:
        """Run in the fork, and exit with the code of the module."""
        os.setpgid(0, 0)
        die_with_parent(server_pid)
        self._requests.close()
        for descriptor, child in self._children.items():
            os.close(descriptor)
            os.close(child.pipe)
        for number, descriptor in enumerate(outputs, start=1):
            os.dup2(descriptor, number)
        os.chdir(request.cwd)
        _draw_seeds()
        main_of_module = importlib.import_module(request.module).main
        sys.exit(main_of_module([*request.words, *map(str, passed), str(server_pid)]))

    def _note_end(self, descriptor: int) -> None:
        self._poller.unregister(descriptor)
        os.close(descriptor)
        child = self._children.pop(descriptor)
        child.process.join()
        self._say(child.pipe, child.process.exitcode or 0)
        os.close(child.pipe)

    @staticmethod
    def _say(pipe: int, number: int) -> bool:
        """Write a number for the client; return False if it is gone."""
        try:
            write_number(pipe, number)
        except BrokenPipeError:
            return False
        return True

    def _kill_all(self) -> None:
        for child in self._children.values():
            with suppress(ProcessLookupError):
                os.killpg(child.process.pid or 0, signal.SIGKILL)


def _has_threads() -> bool:
    """Return whether threads run here that a fork would miss.

    OpenBLAS does no harm: it ends its threads before a fork, and starts new ones when it needs them. So the
    threads are counted after a first fork.
    """
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    names = [path.read_text(encoding="utf-8").strip() for path in Path("/proc/self/task").glob("*/comm")]
    return len([name for name in names if name not in _SAFE_THREADS]) > 1


def _draw_seeds() -> None:
    """Give NumPy a seed of its own, as a fresh process has; Python's random does so itself.

    PyTorch starts with a constant.
    """
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed()


if __name__ == "__main__":
    main(sys.argv[1:])
