"""Folders that are built whole or not at all; a marker lists their files.

The builder fills a folder aside, moves it into place and writes the marker last. The marker holds size,
times, inode and SHA-256 of every file. A file with unchanged stamps is not read again: every write sets its
change time, and no program can set that back. Two cases remain. A write within one clock tick of a look could
leave the same time, so a stamp counts only if the file was older than ``SETTLED_NS`` at that look. And a disk
can silently lose bits, so every file is read again before a measurement (``rehash``).
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from bakeoff.disk.digest import digest_file, digest_json, list_files
from bakeoff.disk.durable import exclusive, storage_faults, sync, write_bytes
from bakeoff.disk.inputs import MAX_RECORD_BYTES, UnsuitableFileError, read_regular
from bakeoff.disk.sealed import open_sealed, seal_json
from bakeoff.errors import CheckpointError, StorageError
from bakeoff.record import Record

COMPLETE_MARKER = "COMPLETE"
SETTLED_NS = 2_000_000_000  # the coarsest clock of a file system in use (FAT) ticks every 2 s
_ASIDE = ".aside-"


class Stamp(Record):
    """Facts that change with a file and cost one ``stat``."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class KnownFile(Record):
    """A file's digest, and its stamp at the time of reading."""

    sha256: str
    stamp: Stamp


class Manifest(Record):
    """Content of a folder at one look.

    Attributes:
        taken_at_ns: Start of the look, in ns since the epoch.
        files: Files by their path below the folder.
    """

    format_version: Literal[2] = 2
    taken_at_ns: int
    files: Mapping[str, KnownFile]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {name: file.sha256 for name, file in self.files.items()}

    def digest(self, below: str = "") -> str:
        """Return the digest of the folder, or of a folder in it, as ``digest_folder`` does."""
        prefix = f"{below}/" if below else ""
        return digest_json(
            {
                name.removeprefix(prefix): digest
                for name, digest in self.digests.items()
                if name.startswith(prefix)
            }
        )

    def would_recall(self, now: Manifest) -> bool:
        """Return whether this look saves reading every file again, if nothing changes."""
        return all(self.recall(name, file.stamp) == file.sha256 for name, file in now.files.items())

    def recall(self, name: str, stamp: Stamp) -> str | None:
        """Return the digest of an unchanged file, or None if it must be read."""
        known = self.files.get(name)
        is_settled = stamp.ctime_ns < self.taken_at_ns - SETTLED_NS
        return known.sha256 if known and is_settled and known.stamp == stamp else None


def take_manifest(folder: Path, known: Manifest | None = None) -> Manifest:
    """Look at every file of a folder, and read those that may have changed.

    Args:
        folder: Folder to look at; our own marker at its top does not count.
        known: An earlier look; None reads everything.

    Raises:
        CheckpointError: The folder holds something that is neither file nor folder.
    """
    begin_ns = time.time_ns()
    files = {}
    for name, path in list_files(folder).items():
        if name == COMPLETE_MARKER or name.startswith(f".{COMPLETE_MARKER}."):
            continue
        status = path.stat()  # before reading: a write in between shows at the next look
        stamp = Stamp(
            size_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            inode=status.st_ino,
        )
        digest = known.recall(name, stamp) if known else None
        files[name] = KnownFile(sha256=digest or digest_file(path), stamp=stamp)
    return Manifest(taken_at_ns=begin_ns, files=files)


def look_at(folder: Path, memo: Path, *, rehash: bool) -> Manifest:
    """Return the content of a folder that another program owns; an earlier look saves reading it again.

    Args:
        folder: Folder to look at; nothing is written there.
        memo: File that keeps the look.
        rehash: Read every file, also those with unchanged stamps.
    """
    known = _read_manifest(memo)
    with storage_faults(folder, "reading"):
        now = take_manifest(folder, None if rehash else known)
    if known is None or not known.would_recall(now):
        _keep_manifest(memo, now)
    return now


def find_whole(folder: Path, *, rehash: bool) -> Manifest | None:
    """Find a folder that ``build_folder`` finished, with no file changed, missing or new; else None."""
    marker = folder / COMPLETE_MARKER
    with storage_faults(folder, "reading"):
        known = _read_manifest(marker)
        if known is None:
            return None
        try:
            now = take_manifest(folder, None if rehash else known)
        except (CheckpointError, FileNotFoundError):
            return None  # it holds a link, or another process replaces it right now
    if now.digests != known.digests:
        return None
    if not known.would_recall(now):
        _keep_manifest(marker, now)
    return now


def build_folder(
    final: Path,
    build: Callable[[Path], None],
    *,
    accept: Callable[[Manifest], bool] = lambda _: True,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Return a whole folder: the one in place, else one that is filled aside and then moved there.

    Processes that build the same folder wait for each other, and only one does the work. Leftovers of dead
    builders are removed, and an error leaves nothing half-made.

    Args:
        final: Destination; a folder there that is not whole is replaced.
        build: Fills the empty folder that it is given.
        accept: Returns whether a whole folder in place will do.
        on_wait: Gets a description of the other process once, if one builds the folder.
    """
    with (
        exclusive(_lock_path(final.parent, final.name), on_wait),
        storage_faults(final, "building the folder"),
    ):
        standing = find_whole(final, rehash=True)
        if standing is not None and accept(standing):
            return standing
        _remove_leftovers(final)
        aside = _new_aside(final)
        try:
            aside.mkdir()
            build(aside)
            for path in (*aside.rglob("*"), aside):
                sync(path)
            manifest = take_manifest(aside)
            _replace(final, aside)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        try:
            write_bytes(final / COMPLETE_MARKER, seal_json(manifest.model_dump(mode="json")))
        except BaseException:
            shutil.rmtree(final, ignore_errors=True)
            raise
        return manifest


def _read_manifest(path: Path) -> Manifest | None:
    try:
        return Manifest.model_validate(open_sealed(read_regular(path, MAX_RECORD_BYTES)))
    except (FileNotFoundError, UnsuitableFileError, ValueError):
        return None


def _keep_manifest(path: Path, manifest: Manifest) -> None:
    with suppress(StorageError):  # without it, looking only takes longer
        write_bytes(path, seal_json(manifest.model_dump(mode="json")))


def _replace(final: Path, aside: Path) -> None:
    """Move a folder into place; no reader ever sees a part of it there."""
    if final.exists():
        old = _new_aside(final)
        final.rename(old)
        shutil.rmtree(old)
    aside.rename(final)
    sync(final.parent)


def _remove_leftovers(final: Path) -> None:
    """Remove the leftovers of dead builders; a living one holds the lock of its folder."""
    for path in final.parent.glob(f".*{_ASIDE}*"):
        name = path.name[1:].rpartition(_ASIDE)[0]
        if name == final.name:
            shutil.rmtree(path, ignore_errors=True)
            continue
        with suppress(Timeout), FileLock(_lock_path(final.parent, name), timeout=0):
            shutil.rmtree(path, ignore_errors=True)


def _new_aside(final: Path) -> Path:
    return final.with_name(f".{final.name}{_ASIDE}{uuid.uuid4().hex}")


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"
