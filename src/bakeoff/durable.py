"""Whole files or none: written aside, synced, renamed; and locks between processes of one machine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

COMPLETE_MARKER = "COMPLETE"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader, now or after a crash, sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            # A temporary file is private; what we keep is as readable as any file of the user.
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all; NaN is refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def build_folder(final: Path, build: Callable[[Path], None]) -> None:
    """Fill a folder aside and move it into place; its marker file is written last.

    Args:
        final: Where the folder shall stand. A folder without marker that stands there is replaced.
        build: Fills the empty folder that it is given.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}."))
    try:
        build(aside)
        for path in aside.rglob("*"):
            _sync(path)
        if final.exists():
            shutil.rmtree(final)
        aside.replace(final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    write_bytes(final / COMPLETE_MARKER, b"")


def is_complete(folder: Path) -> bool:
    """Whether ``build_folder`` finished here."""
    return (folder / COMPLETE_MARKER).is_file()


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock file; the kernel lets it go when the holder dies, however it dies.

    Args:
        path: The lock file.
        on_wait: Called once if another process holds the lock, before waiting for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _umask() -> int:
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
