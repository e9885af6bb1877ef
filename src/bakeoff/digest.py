"""Digests: SHA-256 of bytes, of files and folders, and of values by way of canonical JSON."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import rfc8785

from bakeoff.errors import CheckpointError

SHOWN_DIGITS = 12


def canonical_json(value: Any) -> bytes:
    """The one byte string of a JSON value (RFC 8785): equal values give equal bytes on every machine.

    Args:
        value: Mappings with string keys, lists or tuples, strings, finite numbers, booleans, None.

    Raises:
        ValueError: The value holds something JSON has no form for, a NaN, or an integer past 2**53.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"no canonical JSON for {value!r}: {error}") from error


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: 64 lower-case hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: Path) -> str:
    """Digest of the names and bytes of all files below a folder; empty folders do not count.

    Raises:
        CheckpointError: A symbolic link stands in the folder: its target could change or lie outside.
    """
    files: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise CheckpointError(
                folder, found=f"{path.relative_to(folder)} is a symbolic link", cure="copy the file itself"
            )
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = digest_file(path)
    return digest_json(files)


def shorten(digest: str) -> str:
    """The first 12 digits: for eyes, never for comparing or storing."""
    return digest[:SHOWN_DIGITS]
