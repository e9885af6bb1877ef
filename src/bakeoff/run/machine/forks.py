"""Processes for untimed orders: forks of servers that have imported PyTorch and transformers.

The imports take five seconds of CPU time, and the work of many orders less than one. A fork has what a fresh
process has: memory, output, environment, time limit and end of its own. Timed work never runs in a fork.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bakeoff.measure.model.user_code import CODE_PATH_VARIABLE
from bakeoff.run.machine import children, processes
from bakeoff.run.machine.forked import (
    CANNOT_FORK,
    HAS_THREADS,
    MOST_REQUEST_BYTES,
    ForkedProcess,
    ForkRequest,
    can_read,
    read_number,
)

# Elsewhere a fork of a process with system libraries is unsafe, or there are none.
CAN_FORK = sys.platform == "linux" and hasattr(os, "pidfd_open")
# Servers that stay. Orders with other numbers of threads need other ones.
MOST_SERVERS = 3
# A server that has not answered by then is given up. The first answer comes after its imports.
ANSWER_S = 120.0
_SERVER = "bakeoff.run.machine.fork_server"
_REASONS = {
    None: "it died",
    HAS_THREADS: "a library started a thread in it",
    CANNOT_FORK: "the system refused another process",
}
# It differs between orders, and only code of a user is found by it.
_UNREAD = CODE_PATH_VARIABLE


@contextmanager
def keeping_servers() -> Iterator[None]:
    """Keep fork servers meanwhile; the outermost block ends them."""
    _kept.enter()
    try:
        yield
    finally:
        _kept.leave()


def fork(
    module: str,
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    outputs: Sequence[int],
    named: Collection[str] = (),
    pass_fds: Sequence[int] = (),
    cpus: Sequence[int] | None = None,
    preload: Sequence[str] = (),
    on_wait: Callable[[], None] | None = None,
) -> ForkedProcess | None:
    """Start ``module.main(words)`` in a fork of a server that has the same environment.

    Args:
        module: Module to run.
        words: Arguments. The numbers of its descriptors and the process id of its parent follow them.
        folder: Its working folder.
        environment: Variables added to those that it gets from us.
        outputs: Descriptors of its output and its messages.
        named: Names of variables that it gets from us besides the usual ones.
        pass_fds: Descriptors that it gets as well, under other numbers.
        cpus: CPUs on which it may run; None means ours.
        preload: Functions that the server calls once, ``package.module:function`` each: imports.
        on_wait: Called about once a second while the server imports; it must be short.

    Returns:
        The process; None if no block keeps servers, or none can be had. A warning gives the reason of that.
    """
    if not (CAN_FORK and _kept.is_open):
        return None
    request = ForkRequest(module, words, str(folder.absolute()), preload)
    return _kept.fork(request, outputs, pass_fds, _Needs(environment, named, cpus), on_wait)


@dataclass(frozen=True)
class _Needs:
    """What a server must have for an order: it is read when libraries are imported."""

    environment: Mapping[str, str]
    named: Collection[str]
    cpus: Sequence[int] | None

    @property
    def key(self) -> object:
        """Value that is equal for orders of one server."""
        variables = processes.variables_for(self.environment, self.named)
        variables.pop(_UNREAD, None)
        return frozenset(variables.items()), None if self.cpus is None else tuple(self.cpus)


class _NoForkError(Exception):
    """A server started no process."""


class _Server:
    """A server process."""

    def __init__(self, needs: _Needs) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bakeoff-fork-server-"))
        self._children: list[ForkedProcess] = []
        # Whole messages, in which descriptors travel along; its end shows that the other side is gone.
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = processes.start_process(
                _SERVER,
                (str(theirs.fileno()), str(self._folder)),
                self._folder,
                needs.environment,
                named=needs.named,
                pass_fds=(theirs.fileno(),),
                cpus=needs.cpus,
            )

    @property
    def is_idle(self) -> bool:
        """Whether none of its children runs."""
        return all(child.poll() is not None for child in self._children)

    def fork(
        self,
        request: ForkRequest,
        outputs: Sequence[int],
        passed: Sequence[int],
        on_wait: Callable[[], None] | None,
    ) -> ForkedProcess:
        """Let it start a process.

        Raises:
            _NoForkError: It died, does not answer, or refuses.
        """
        text = json.dumps(asdict(request)).encode()
        if len(text) > MOST_REQUEST_BYTES:
            raise _NoForkError("the request is too long")
        pipe, theirs = os.pipe()
        try:
            try:
                socket.send_fds(self._requests, [text], [*outputs, theirs, *passed])
            except OSError:
                raise self._explain(None) from None
            finally:
                os.close(theirs)
            pid = self._read_answer(pipe, on_wait)
        except BaseException:
            os.close(pipe)
            raise
        self._children = [child for child in self._children if child.poll() is None]
        self._children.append(ForkedProcess(pid, pipe))
        children.add(pid)
        return self._children[-1]

    def close(self) -> None:
        """End it at once, with its children."""
        self._requests.close()
        processes.end_process(self._process, grace_s=0.0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read_answer(self, pipe: int, on_wait: Callable[[], None] | None) -> int:
        deadline = time.monotonic() + ANSWER_S
        while not can_read(pipe, processes.CALL_S):
            if time.monotonic() >= deadline:
                raise _NoForkError(f"it did not answer for {ANSWER_S:g} s")
            if on_wait is not None:
                on_wait()
        pid = read_number(pipe)
        if pid is None or pid < 0:
            raise self._explain(pid)
        return pid

    def _explain(self, answer: int | None) -> _NoForkError:
        last_line = processes.read_tail(self._folder).splitlines()[-1:]
        return _NoForkError(": ".join([_REASONS[answer], *last_line]))


class _Kept:
    """Servers by their environment and CPUs, while a block keeps them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._owner_pid = 0
        self._servers: dict[object, _Server] = {}
        self._has_failed = False

    @property
    def is_open(self) -> bool:
        """Whether a block keeps servers, in this very process and not in one that forked it."""
        return self._depth > 0 and self._owner_pid == os.getpid() and not self._has_failed

    def enter(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._owner_pid, self._has_failed = os.getpid(), False
            self._depth += 1

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._owner_pid == os.getpid():
                while self._servers:
                    self._servers.popitem()[1].close()

    def fork(
        self,
        request: ForkRequest,
        outputs: Sequence[int],
        passed: Sequence[int],
        needs: _Needs,
        on_wait: Callable[[], None] | None,
    ) -> ForkedProcess | None:
        with self._lock:
            try:
                return self._choose(needs).fork(request, outputs, passed, on_wait)
            except (_NoForkError, OSError) as error:
                self._has_failed = True  # other forks may still run, so the servers stay until the end
                logging.getLogger("bakeoff").warning(
                    "the fork server failed (%s); every untimed order imports its libraries again", error
                )
                return None

    def _choose(self, needs: _Needs) -> _Server:
        key = needs.key
        server = self._servers.pop(key, None) or _Server(needs)
        self._servers[key] = server  # the one used last stands last
        for other in [each for each in self._servers if each != key and self._servers[each].is_idle]:
            if len(self._servers) > MOST_SERVERS:
                self._servers.pop(other).close()
        return server


_kept = _Kept()
