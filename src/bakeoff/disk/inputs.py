"""Files that someone else may have made: regular, of a limited size, and checked as they are opened."""

from __future__ import annotations

import errno
import os
import stat
import sys
from io import BufferedReader
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a symbolic link"),
)
# A FIFO without a writer and a device without a medium would block the open.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
MAX_RECORD_BYTES = 64 << 20  # of a JSON document that bakeoff writes
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


class UnsuitableFileError(OSError):
    """Something else than a regular file of the allowed size."""


def open_regular(path: Path, max_bytes: int = sys.maxsize, *, follows_links: bool = True) -> BufferedReader:
    """Open a file for reading, without ever waiting for it.

    Args:
        path: Path of the file.
        max_bytes: Largest size that is accepted.
        follows_links: Whether the path itself may be a symbolic link.

    Raises:
        UnsuitableFileError: It is a folder, FIFO, socket, device or refused link, or too large.
        OSError: It is missing, or cannot be read.
    """
    try:
        descriptor = os.open(path, _FLAGS | (0 if follows_links else _NO_FOLLOW))
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EMLINK}:
            raise UnsuitableFileError(f"{_describe(path)}, not a regular file") from None
        raise
    file = os.fdopen(descriptor, "rb") if stat.S_ISREG(mode := os.fstat(descriptor).st_mode) else None
    if file is None:
        os.close(descriptor)
        raise UnsuitableFileError(f"{_name(mode)}, not a regular file")
    size_bytes = os.fstat(descriptor).st_size
    if size_bytes > max_bytes:
        file.close()
        raise UnsuitableFileError(f"{size_bytes:,} bytes; at most {max_bytes:,} are allowed")
    return file


def read_regular(path: Path, max_bytes: int, *, follows_links: bool = True) -> bytes:
    """Read a whole file, opened once; the arguments and errors are those of ``open_regular``."""
    with open_regular(path, max_bytes, follows_links=follows_links) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:  # it grew, or its size is not known in advance
        raise UnsuitableFileError(f"more than the {max_bytes:,} bytes that are allowed")
    return data


def refuse_escape(path: Path, root: Path) -> None:
    """Refuse a path below a folder if links lead out of that folder.

    Args:
        path: Path to check; one that is written as a place outside the folder is allowed.
        root: The folder.

    Raises:
        UnsuitableFileError: The path leads out.
    """
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(root)):
        return
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(os.path.realpath(root)):
        raise UnsuitableFileError(f"a link out of the project; copy the file, or name {target} itself")


def _name(mode: int) -> str:
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "an unknown kind of file")


def _describe(path: Path) -> str:
    try:
        return _name(path.lstat().st_mode)
    except OSError:
        return "a link or device"
