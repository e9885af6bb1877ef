"""Files that are written whole or not at all, and locks between the processes of one machine."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bakeoff.disk.holder import Holder, find_holder
from bakeoff.errors import StorageError


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old or the new content, never a part, even after a crash.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with storage_faults(path, "writing"):
        ensure_folder(path.parent)
        try:
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync(path.parent)


def open_new(path: Path) -> BufferedWriter:
    """Open an empty file for writing; it replaces what is there, so that no planted link is followed."""
    path.unlink(missing_ok=True)
    return path.open("xb")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all; refuse NaN."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


@contextmanager
def exclusive(path: Path, on_wait: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold a lock file; the kernel releases it however the holder dies.

    Args:
        path: The lock file.
        on_wait: Gets a description of the holder once, before the wait, if another process holds the lock.
    """
    described = path.with_name(f"{path.name}.holder")  # taking a lock empties its own file
    with storage_faults(path, "locking"):
        ensure_folder(path.parent)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait(describe_holder(described, path))
            lock.acquire()
    with suppress(OSError), open_new(described) as file:
        file.write(Holder.of_this_process().model_dump_json().encode())
    try:
        yield
    finally:
        with suppress(OSError):
            described.unlink()
        lock.release()


def describe_holder(described: Path, path: Path) -> str:
    """Describe the process that holds a lock, as far as it is known.

    Args:
        described: File in which the holder described itself.
        path: The lock file.
    """
    holder = find_holder(described)
    return holder.describe(time.time()) if holder else f"another process holds {path}"


@contextmanager
def storage_faults(path: Path, action: str) -> Iterator[None]:
    """Turn every fault of the disk into a StorageError that names the place."""
    try:
        yield
    except OSError as error:
        raise StorageError(path, action=action, error=error) from error


def make_folder(folder: Path) -> Path:
    """Make a folder unless it is there, and return it."""
    with storage_faults(folder, "making the folder"):
        ensure_folder(folder)
    return folder


def ensure_folder(folder: Path) -> None:
    """Make a folder so that it survives a crash: its parent holds its name and is synced, too."""
    if not folder.is_dir():
        ensure_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Have the kernel write a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
