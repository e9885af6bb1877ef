"""Processes that are killed before the n-th call that changes a file or folder, or commits to a database.

A run in a fork stands for a command: its locks, buffers and transactions end with it, as those of a killed
command do. Nothing is imported and no interpreter starts, so a kill costs milliseconds.
"""

from __future__ import annotations

import builtins
import inspect
import io
import os
import pickle
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

OnCall = Callable[[str, tuple[Any, ...]], None]

FSYNC, FSYNC_FOLDER, COMMIT = "fsync", "fsync of a folder", "commit"
WRITE, SECOND_HALF = "write", "second half of a write"
_CALLS = (
    FSYNC, "rename", "replace", "link", "symlink", "unlink", "remove", "mkdir", "rmdir", "truncate",
    "ftruncate", "sendfile",
)  # fmt: skip
_SIGNATURE = inspect.signature(io.open)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Killed(Exception):  # noqa: N818 - what was asked for
    """The process was killed at the point that was named."""


class _WatchedFile(io.FileIO):
    """File that is written in halves, and names each."""

    on_call: OnCall

    def write(self, data: Any) -> int:
        whole = memoryview(data).cast("B")
        half = len(whole) // 2
        self.on_call(WRITE, (self.fileno(),))
        self._write_all(whole[:half])
        self.on_call(SECOND_HALF, (self.fileno(),))
        self._write_all(whole[half:])
        return len(whole)

    def _write_all(self, part: memoryview) -> None:
        while part:
            part = part[super().write(part) or 0 :]


def _watch_open(on_call: OnCall, real_open: Callable[..., Any]) -> Callable[..., Any]:
    """Make an ``open`` that names what is opened for writing, and its writes."""

    def open_file(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+"):
            return real_open(file, mode, *arguments, **options)
        on_call("open", (file,))
        given = _SIGNATURE.bind(file, mode, *arguments, **options)
        given.apply_defaults()
        wanted = given.arguments
        if "+" in mode or not wanted["buffering"]:
            return real_open(file, mode, *arguments, **options)
        raw = _WatchedFile(file, mode.strip("bt"), wanted["closefd"], wanted["opener"])
        raw.on_call = on_call
        buffered = io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        is_by_line = wanted["buffering"] == 1
        return io.TextIOWrapper(buffered, wanted["encoding"], wanted["errors"], wanted["newline"], is_by_line)

    return open_file


@contextmanager
def watching(on_call: OnCall) -> Iterator[None]:
    """Call a function before each call that changes a file or folder, syncs one, or commits to a database.

    Args:
        on_call: Gets the name of the call and its arguments.
    """
    real_open, real_os_open = io.open, os.open
    kept = {name: getattr(os, name) for name in _CALLS}

    def watch(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            is_folder = name == FSYNC and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            on_call(FSYNC_FOLDER if is_folder else name, arguments)
            return kept[name](*arguments, **options)

        return call

    def open_descriptor(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & _WRITES:
            on_call("open", (path,))
        return real_os_open(path, flags, *arguments, **options)

    def commit(_: Any) -> None:
        on_call(COMMIT, ())

    event.listen(Engine, "commit", commit)
    try:
        for name in _CALLS:
            setattr(os, name, watch(name))
        os.open = open_descriptor
        io.open = builtins.open = _watch_open(on_call, real_open)
        yield
    finally:
        io.open, builtins.open, os.open = real_open, real_open, real_os_open
        for name, real in kept.items():
            setattr(os, name, real)
        event.remove(Engine, "commit", commit)


def in_fork(function: Callable[[], Any]) -> Any:
    """Call a function in a fork, and return what it returns.

    Raises:
        Killed: The fork was killed.
        RuntimeError: The function raised; the message is its traceback.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _answer(writing, function)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise Killed
    is_good, value = pickle.loads(answer)  # noqa: S301 - our own fork wrote it
    if not is_good:
        raise RuntimeError(value)
    return value


def _answer(writing: int, function: Callable[[], Any]) -> None:
    try:
        try:
            answer = pickle.dumps((True, function()))
        except BaseException:  # noqa: BLE001 - the parent raises it
            answer = pickle.dumps((False, traceback.format_exc()))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)  # nothing of the parent may run on here


def list_calls(act: Callable[[], object]) -> list[str]:
    """Run an act in a fork to its end; return the names of its calls."""

    def run() -> list[str]:
        names: list[str] = []
        with watching(lambda name, _: names.append(name)):
            act()
        return names

    calls: list[str] = in_fork(run)
    return calls


def kill_before(number: int, act: Callable[[], object], *, is_half: bool = False) -> bool:
    """Run an act in a fork that is killed before its n-th call; return whether it came so far.

    Args:
        number: Number of the call, from 0.
        act: What runs.
        is_half: Whether the process dies while it writes: half of the file that it would sync is there.

    Raises:
        RuntimeError: It raised.
    """
    count = iter(range(sys.maxsize))
    truncate = os.ftruncate

    def on_call(name: str, arguments: tuple[Any, ...]) -> None:
        if next(count) < number:
            return
        if is_half and name == FSYNC:
            truncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        with watching(on_call):
            act()

    try:
        in_fork(run)
    except Killed:
        return True
    return False  # a heartbeat may come once more or less
