"""Digests: SHA-256 of bytes, files and folders, and of values as canonical JSON."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import rfc8785

from bakeoff.disk.inputs import UnsuitableFileError, open_regular
from bakeoff.errors import CheckpointError

SHOWN_DIGITS = 12
_STAMPS = "stamps:"


def canonical_json(value: Any) -> bytes:
    """Return the canonical bytes of a JSON value (RFC 8785): the same on every machine.

    Args:
        value: Mappings with string keys, lists or tuples, strings, finite numbers, booleans, None.

    Raises:
        ValueError: JSON has no form for a part of the value: a NaN, half of a surrogate pair, or an integer
            from 2**53 on, which a float may not hold exactly.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise ValueError(f"no canonical JSON for {value!r}: {error}") from error


def digest_json(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON: 64 lower-case hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        CheckpointError: It is not a regular file: a FIFO would never end.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except UnsuitableFileError as error:
        raise CheckpointError(path, found=str(error), fix="replace it by the file itself") from None


def list_files(folder: Path) -> dict[str, Path]:
    """List all files below a folder by their path in it, with ``/`` between the parts, sorted by name.

    Raises:
        CheckpointError: The folder is missing: it must not pass for an empty one. Or it holds something that
            is neither file nor folder: the target of a symbolic link could change or lie outside. Or a name
            is not text.
    """
    if not folder.is_dir():
        raise CheckpointError(folder, found="no such folder", fix="check the path")
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise CheckpointError(folder, found=f"{name!r} is a symbolic link", fix="copy the file itself")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CheckpointError(folder, found=f"{name!r} is neither file nor folder", fix="remove it")
        if stat.S_ISREG(mode):
            if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
                raise CheckpointError(folder, found=f"the name {name!r} is not UTF-8", fix="rename the file")
            files[name] = path
    return files


def digest_folder(folder: Path) -> str:
    """Return the digest of the names and bytes of all files below a folder; ignore empty folders."""
    return digest_json({name: digest_file(path) for name, path in list_files(folder).items()})


def stamp_folder(folder: Path) -> str:
    """Return a stand-in for the digest of a folder: names, sizes and times of its files, unread.

    Raises:
        CheckpointError: The folder is missing, or holds a link.
    """
    if not folder.is_dir():
        raise CheckpointError(folder, found="no such folder", fix="check the path")
    stamps = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(
                    folder, found=f"{name!r} is a link or no file", fix="copy the file itself"
                )
            # Times are text: canonical JSON has no integers of that length.
            stamps[path.relative_to(folder).as_posix()] = [status.st_size, str(status.st_mtime_ns)]
    return _STAMPS + digest_json(stamps)


def digest_as(expected: str, folder: Path) -> str:
    """Return the digest of a folder, made as an expected one was: from content, or from stamps."""
    return stamp_folder(folder) if expected.startswith(_STAMPS) else digest_folder(folder)


def shorten(digest: str) -> str:
    """Return the first 12 digits: for people to read, never to compare or store."""
    return digest.removeprefix(_STAMPS)[:SHOWN_DIGITS]
