"""Tar archives from other people, unpacked member by member and refused at the first unsafe one.

Python's ``data`` filter is only the second line of defence: in releases up to 3.11.12, 3.12.10 and 3.13.3,
links could escape the folder (CVE-2025-4517 and kin). A checkpoint needs no links, so none is accepted. The
parser reads through a file object with bounds. An extended header may claim any size, and a negative one sent
the parser into an endless loop (CVE-2025-8194).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bakeoff.disk.names import NameRegister
from bakeoff.errors import CheckpointError
from bakeoff.measure.model.model_config import CONFIG_FILE

MAX_MEMBERS = 2_000  # a checkpoint has some ten files; one in shards, with its training state, some hundreds
MAX_UNPACKED_BYTES = 64 * 2**30  # ten billion weights in fp32 are 40 GiB; bakeoff benchmarks none larger
# In one read. Extended headers have some hundred bytes; older parsers take quadratic time (CVE-2024-6232).
MAX_READ_BYTES = 8192
_BLOCK_BYTES = 512
_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_BROKEN = "log the checkpoint again, as a complete tar archive"
_HOSTILE = "check where this archive comes from before you use it, or pack the plain files again"


def unpack(archive: Path, folder: Path, place: str) -> None:
    """Unpack a tar archive, plain or compressed with gzip, bzip2 or xz, into an empty folder.

    Args:
        archive: The logged file, not yet trusted.
        folder: Target folder; nothing is written outside it. After an error it may hold part of the archive.
        place: Name of the archive in messages.

    Raises:
        CheckpointError: The archive is incomplete, too large, or holds more than plain files.
        OSError: The disk is full or cannot be written.
    """
    with _broken_archives(place), _open(archive) as file:
        bounded = _BoundedReader(file, place)
        names, count = NameRegister(), 0
        with tarfile.TarFile(fileobj=bounded, copybufsize=MAX_READ_BYTES) as tar:
            while (member := tar.next()) is not None:
                count += 1
                if count > MAX_MEMBERS:
                    raise _refuse(place, f"more than {MAX_MEMBERS} members")
                if _check_member(member, names, place):
                    # Modes, owners and times of another machine mean nothing here.
                    tar.extract(member, folder, set_attrs=False, filter="data")
        bounded.require_end()


def find_checkpoint_folder(folder: Path, place: str) -> Path:
    """Find the one folder in an unpacked archive that holds ``config.json``.

    Raises:
        CheckpointError: No folder holds one, or several do.
    """
    found = sorted(path.parent for path in folder.rglob(CONFIG_FILE) if path.is_file())
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(repr(path.relative_to(folder).as_posix()) for path in found[:5])
        raise CheckpointError(
            place,
            found=f"{len(found)} folders hold {CONFIG_FILE}: {names}",
            fix="log only the folder that ships",
        )
    names = ", ".join(repr(path.name) for path in sorted(folder.iterdir())[:5]) or "nothing"
    raise CheckpointError(
        place,
        found=f"no folder holds {CONFIG_FILE} (found {names})",
        fix="log what save_pretrained() wrote",
    )


def _check_member(member: tarfile.TarInfo, names: NameRegister, place: str) -> bool:
    """Return whether to unpack a member; some archives list the folder itself, which needs nothing."""
    name = member.name.removeprefix("./")
    if member.isdir() and name in {"", "."}:
        return False
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise _refuse(place, f"{member.name[:80]!r} is neither a plain file nor a folder")
    if member.size < 0:
        raise _refuse(place, f"{member.name[:80]!r} has a negative size")
    if fault := names.find_fault(name, is_folder=member.isdir()):
        raise _refuse(place, f"a member's name: {fault}")
    return True


def _open(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        start = file.read(max(map(len, _OPENERS)))
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    opened: IO[bytes] = opener(archive) if opener else archive.open("rb")
    return opened


class _BoundedReader(io.BufferedIOBase):
    """A file that reads forward only, in pieces of bounded size and up to a bounded sum."""

    def __init__(self, file: IO[bytes], place: str) -> None:
        self._file = file
        self._place = place
        self._position = 0
        self._last = b""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_READ_BYTES:
            raise _refuse(self._place, f"a header that claims {size} bytes")
        self._last = self._file.read(size)
        self._position += len(self._last)
        if self._position > MAX_UNPACKED_BYTES:
            raise _refuse(self._place, f"more than {MAX_UNPACKED_BYTES // 2**30} GiB when unpacked")
        return self._last

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or position < self._position:
            raise _refuse(self._place, "members out of order")
        while self._position < position and self.read(min(position - self._position, MAX_READ_BYTES)):
            pass
        return self._position

    def require_end(self) -> None:
        """Require an empty block and a right checksum; tarfile takes any garbage for the end."""
        if self._last != bytes(_BLOCK_BYTES):
            raise CheckpointError(self._place, found="the archive was cut short", fix=_BROKEN)
        while self.read(MAX_READ_BYTES):
            pass


@contextmanager
def _broken_archives(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # a fault of the disk; decompressors raise OSError without a number
            raise
        raise CheckpointError(place, found=f"cannot be read ({error})", fix=_BROKEN) from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, RecursionError) as error:
        raise CheckpointError(place, found=f"cannot be read ({error})", fix=_BROKEN) from error


def _refuse(place: str, found: str) -> CheckpointError:
    return CheckpointError(place, found=found, fix=_HOSTILE)
