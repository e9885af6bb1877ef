"""States in which a folder may be found after the power failed.

The model is that of POSIX, which is stricter than any file system in use. The bytes of a file are certain up
to its last fsync. A name is certain up to the last fsync of its folder. Whatever came later may be there or
not, each call for itself; bytes may be missing, zero, or a part. A rename between two folders is one change,
as in every file system with a journal, and certain once one of the folders is synced.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kills import FSYNC, FSYNC_FOLDER, watching

ROOT = 0
Names = dict[str, int]


@dataclass(frozen=True)
class Renamed:
    """Names that changed in one call, each after its folder; a number of None means that the name is gone."""

    names: tuple[tuple[int, str, int | None], ...]

    @property
    def folders(self) -> set[int]:
        """Numbers of the folders whose names changed."""
        return {folder for folder, _, _ in self.names}


@dataclass(frozen=True)
class Written:
    """New bytes of a file."""

    file: int
    data: bytes


@dataclass(frozen=True)
class Synced:
    """A file or folder of which all that happened is certain."""

    number: int


Event = Renamed | Written | Synced


@dataclass
class History:
    """All that happened in a folder. Files and folders have numbers, since names and inodes are reused.

    Attributes:
        folders: Numbers of folders; all others are files.
    """

    events: list[Event] = field(default_factory=list)
    n_before: int = 0
    folders: set[int] = field(default_factory=lambda: {ROOT})


def record(root: Path, act: Callable[[], object]) -> History:
    """Run an act here, and record what it does to a folder."""
    recorder = _Recorder(root)
    recorder.history.n_before = len(recorder.history.events)
    with watching(recorder.on_call):
        act()
    recorder.look()
    return recorder.history


class _Recorder:
    """Looks at the folder before each call, so that what a call did shows in the next look."""

    def __init__(self, root: Path) -> None:
        self.history = History()
        self._root = root
        self._open, self._read = os.open, os.read
        self._numbers: dict[int, int] = {}
        self._names: dict[int, Names] = {}
        self._data: dict[int, bytes] = {}
        self._next = itertools.count(ROOT)
        self.look()
        self.history.events += [Synced(number) for number in (*self._names, *self._data)]

    def on_call(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.look()
        if name in (FSYNC, FSYNC_FOLDER):
            number = self._numbers.get(os.fstat(arguments[0]).st_ino)
            if number is not None:
                self.history.events.append(Synced(number))

    def look(self) -> None:
        found = dict(self._scan(self._root))
        inodes = {inode for _, entries in found.items() for inode in entries[1].values()} | found.keys()
        self._numbers = {inode: number for inode, number in self._numbers.items() if inode in inodes}
        for inode in found:
            self._number(inode)
        names: dict[int, Names] = {}
        data: dict[int, bytes] = {}
        for inode, (is_folder, entries, content) in found.items():
            number = self._number(inode)
            if is_folder:
                names[number] = {name: self._number(inner) for name, inner in entries.items()}
            else:
                data[number] = content
        self.history.folders |= names.keys()
        for number, content in data.items():
            if content != self._data.get(number, b""):
                self.history.events.append(Written(number, content))
        changed = tuple(
            (number, name, now.get(name))
            for number, now in sorted(names.items())
            for name in sorted(self._names.get(number, {}).keys() | now.keys())
            if self._names.get(number, {}).get(name) != now.get(name)
        )
        if changed:
            self.history.events.append(Renamed(changed))
        self._names, self._data = names, data

    def _number(self, inode: int) -> int:
        if inode not in self._numbers:
            self._numbers[inode] = next(self._next)
        return self._numbers[inode]

    def _scan(self, folder: Path) -> Iterator[tuple[int, tuple[bool, dict[str, int], bytes]]]:
        entries: dict[str, int] = {}
        inner: list[Path] = []
        with os.scandir(folder) as found:
            for entry in found:
                entries[entry.name] = entry.inode()
                inner.append(Path(entry.path))
        yield folder.stat().st_ino, (True, entries, b"")
        for path in inner:
            if path.is_dir() and not path.is_symlink():
                yield from self._scan(path)
            else:
                yield path.lstat().st_ino, (False, {}, self._content(path))

    def _content(self, path: Path) -> bytes:
        descriptor = self._open(path, os.O_RDONLY)
        try:
            return self._read(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)


@dataclass
class _Disk:
    """What is certain of files and folders, and what may have happened since."""

    names: dict[int, Names] = field(default_factory=dict)
    data: dict[int, bytes] = field(default_factory=dict)
    later_names: list[Renamed] = field(default_factory=list)
    later_data: dict[int, bytes] = field(default_factory=dict)

    def add(self, happened: Event) -> None:
        match happened:
            case Renamed():
                self.later_names.append(happened)
            case Written(number, content):
                self.later_data[number] = content
            case Synced(number):
                for each in self.later_names:
                    if number in each.folders:
                        _apply(self.names, each)
                self.later_names = [each for each in self.later_names if number not in each.folders]
                if number in self.later_data:
                    self.data[number] = self.later_data.pop(number)


def _apply(names: dict[int, Names], change: Renamed) -> None:
    for folder, name, number in change.names:
        table = names.setdefault(folder, {})
        if number is None:
            table.pop(name, None)
        else:
            table[name] = number


# What is left of bytes that were not synced, from the certain bytes and the new ones.
_LEFT: tuple[Callable[[bytes, bytes], bytes], ...] = (
    lambda old, new: new,
    lambda old, new: old,
    lambda old, new: b"",
    lambda old, new: new[: len(new) // 2],
    lambda old, new: bytes(len(new)),
)
Files = dict[str, bytes | None]


def list_states(history: History, most_at_a_point: int, seed: int = 0) -> list[tuple[Files, bool]]:
    """List the states of a folder that power cuts may leave: content by path, None for a folder.

    Each is followed by whether the act was over then.

    Args:
        history: What happened.
        most_at_a_point: Most states for a cut after one event; beyond it they are drawn.
        seed: Seed of the draw.
    """
    source = random.Random(seed)
    disk = _Disk()
    states: dict[tuple[tuple[str, bytes | None], ...], tuple[Files, bool]] = {}
    for number, happened in enumerate(history.events):
        disk.add(happened)
        if number + 1 < history.n_before:
            continue
        for kept, left in _choose(disk, most_at_a_point, source):
            state = _list_files(disk, kept, left, history.folders)
            states[tuple(sorted(state.items()))] = state, number + 1 == len(history.events)
    return list(states.values())


def _choose(disk: _Disk, most: int, source: random.Random) -> Iterator[tuple[list[Renamed], list[int]]]:
    """Choose the changes of names that came through, and what is left of each file."""
    later, n_files = disk.later_names, len(disk.later_data)
    whole = [0] * n_files
    yield [], whole
    for kind in range(len(_LEFT)):
        yield later, [kind] * n_files
    singles = [[each for each in later if each is not one] for one in later] + [[one] for one in later]
    for kept in singles[:most]:
        yield kept, [source.randrange(len(_LEFT)) for _ in whole]
    for _ in range(most if later or n_files > 1 else 0):
        kept = [each for each in later if source.random() < 0.5]
        yield kept, [source.randrange(len(_LEFT)) for _ in whole]


def _list_files(disk: _Disk, kept: list[Renamed], left: list[int], folders: set[int]) -> Files:
    names = {number: dict(table) for number, table in disk.names.items()}
    for each in kept:
        _apply(names, each)
    data = dict(disk.data)
    for (number, content), kind in zip(disk.later_data.items(), left, strict=True):
        data[number] = _LEFT[kind](disk.data.get(number, b""), content)
    files: Files = {}

    def walk(folder: int, path: str, above: tuple[int, ...]) -> None:
        for name, number in names.get(folder, {}).items():
            here = f"{path}{name}"
            if number not in folders:
                files[here] = data.get(number, b"")
            elif number not in above:
                files[here] = None
                walk(number, f"{here}/", (*above, number))

    walk(ROOT, "", (ROOT,))
    return files


def write_state(state: Files, folder: Path) -> None:
    """Make a folder with the files of a state."""
    folder.mkdir(parents=True)
    for name in sorted(state):
        content = state[name]
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
