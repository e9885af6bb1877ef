"""Names from other programs, and the faults that keep them from becoming a path on this machine."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

# Limits of common file systems; a longer name would fail halfway through writing.
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
# Separators of other systems, drives and streams of Windows, and escapes that artifact stores decode.
_FORBIDDEN = frozenset('\\:%"*<>?|')


def find_name_fault(name: str) -> str | None:
    """Find the reason that a text cannot name one file or folder, or None.

    bakeoff refuses names that mean another place, and names that people or other systems read differently.
    """
    if name in {"", ".", ".."}:
        return f"{name!r} is not a name"
    if "/" in name or _FORBIDDEN.intersection(name):
        return f"{name!r} holds a separator or a reserved character"
    if any(unicodedata.category(character).startswith("C") for character in name):
        return f"{name!r} holds a control or invisible character"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"{name[:40]!r}… is longer than {MAX_NAME_BYTES} bytes"
    return None


def find_path_fault(path: str) -> str | None:
    """Find the reason that a text cannot be a path below a folder, with ``/`` between parts, or None."""
    if path.startswith("/"):
        return f"{path[:80]!r} is an absolute path"
    fault = next((fault for part in path.split("/") if (fault := find_name_fault(part))), None)
    if fault is None and len(path.encode()) > MAX_PATH_BYTES:
        return f"{path[:40]!r}… is longer than {MAX_PATH_BYTES} bytes"
    return fault


def fold_name(name: str) -> str:
    """Return a name as a file system sees it that ignores case and Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


class NameRegister:
    """The paths of one folder; it refuses two that could be the same file on some system."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, bool]] = {}

    def find_fault(self, path: str, *, is_folder: bool) -> str | None:
        """Add a path and return its fault, or None.

        Args:
            path: Path below the folder, with ``/`` between parts.
            is_folder: A folder may be named again; a file may not.
        """
        if fault := find_path_fault(path):
            return fault
        parents = [(str(parent), True) for parent in PurePosixPath(path).parents][:-1]
        faults = (self._take(name, is_folder=folder) for name, folder in [*parents, (path, is_folder)])
        return next((fault for fault in faults if fault), None)

    def _take(self, name: str, *, is_folder: bool) -> str | None:
        key = fold_name(name)
        if key not in self._seen:
            self._seen[key] = (name, is_folder)
            return None
        known, was_folder = self._seen[key]
        if known != name:
            return f"{name!r} and {known!r} differ only in case or Unicode form"
        return None if is_folder and was_folder else f"{name!r} is a duplicate"
