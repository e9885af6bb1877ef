"""The disk cache of measurements: every measurement is stored here first.

results/jobs/KEY_DIGEST/ATTEMPT.json       a Measurement without its raw values, or a FailedAttempt
results/jobs/KEY_DIGEST/ATTEMPT.npz        the raw values, written first; optional for a failed attempt
results/jobs/KEY_DIGEST/ATTEMPT.forced     present if it was measured although an earlier attempt counted
results/jobs/KEY_DIGEST/ATTEMPT.logged     a LoggedRun; written when the tracking store has it
results/jobs/KEY_DIGEST/superseded/        attempts that another machine finished first; they do not count
results/damaged/KEY_DIGEST/                attempts whose files changed after they were written; never read
results/work/KEY_DIGEST-ATTEMPT/           parts of an attempt that is not complete yet
results/champions/BACKBONE-RUN/benchmark.json
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bakeoff.core.job import Job
from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.records import FailedAttempt, Measurement
from bakeoff.core.validity.noise import is_only_contended
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.disk.inputs import read_regular
from bakeoff.disk.sealed import open_sealed, seal_json
from bakeoff.errors import DamagedResultError, DataError
from bakeoff.record import Record
from bakeoff.stores.results.attempt_files import (
    MAX_ARRAYS_BYTES,
    MAX_DOCUMENT_BYTES,
    encode_attempt,
    read_attempt,
)
from bakeoff.stores.results.benchmark_json import describe_champion
from bakeoff.stores.results.views import LoggedRun, name_as, summarize

HEAT_PREFIX = "heat-"
SUPERSEDED = "superseded"
DAMAGED = "damaged"
FORCED = ".forced"
_SUFFIXES = (".json", ".npz", ".logged", FORCED)
_MAX_MARK_BYTES = 1 << 16
# What ``durable.write_bytes`` leaves of a file of an attempt if its process is killed before the end.
_LEFTOVERS = re.compile(r"\.\d+\.(json|npz|forced)\.[0-9a-f]{32}")


class PackedAttempt(Record):
    """The files of one attempt as bytes, for another machine.

    Attributes:
        arrays: The raw values as npz; empty for a failed attempt without any.
        is_forced: Whether it was measured although an earlier attempt counted.
    """

    key_digest: str
    number: int
    document: bytes
    arrays: bytes
    is_forced: bool


class ResultStore:
    """Attempts of jobs in a folder. Files are written whole, so several processes may share it.

    A damaged attempt counts as missing, and a warning names its file; all others are read.

    Args:
        folder: Folder of the store, made with the first result.
        notify: Receives a line for each damaged attempt.
    """

    def __init__(self, folder: Path, notify: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder
        self._notify = notify
        self._named = set[str]()

    @property
    def token(self) -> str:
        """Id of this folder for the machines that measure, made at the first use."""
        path = self.folder / ".token"
        if not path.is_file() or path.is_symlink():
            durable.write_bytes(path, uuid.uuid4().hex.encode())
        return path.read_text(encoding="ascii")

    @property
    def lock_path(self) -> Path:
        """Path of the lock of the measuring process."""
        return self.folder / ".bench.lock"

    def store(self, attempt: Measurement | FailedAttempt, *, is_forced: bool = False) -> Path:
        """Write an attempt: raw values first, then the file that makes it count.

        Args:
            attempt: Attempt to write.
            is_forced: Whether it was measured although an earlier attempt counted, and replaces that.
        """
        path = self._path(attempt.job, attempt.attempt)
        if is_forced:
            durable.write_bytes(path.with_suffix(FORCED), b"")
        document, arrays = encode_attempt(attempt)
        if arrays:
            durable.write_bytes(path.with_suffix(".npz"), arrays)
        durable.write_bytes(path, document)
        return path

    def load_valid(self, job: Job, among: Collection[int] | None = None) -> Measurement | None:
        """Find the newest valid measurement of a job, with its raw values.

        Args:
            job: Job to look for.
            among: Numbers of the attempts that may count; None means all.
        """
        for path in sorted(self._attempt_files(job), reverse=True):
            if among is not None and path.stem not in {f"{number:03d}" for number in among}:
                continue
            attempt = self._find(path)
            if isinstance(attempt, Measurement) and attempt.is_valid:
                return name_as(attempt, job)
        return None

    def load_contended(self, job: Job, among: Collection[int]) -> Measurement | None:
        """Find the newest measurement of a job that only a busy machine made invalid.

        Args:
            job: Job to look for.
            among: Numbers of the attempts that may count.
        """
        for path in sorted(self._attempt_files(job), reverse=True):
            attempt = self._find(path) if path.stem in {f"{number:03d}" for number in among} else None
            if isinstance(attempt, Measurement) and is_only_contended(attempt):
                return name_as(attempt, job)
        return None

    def load(self, key: str, attempt: int) -> Measurement | FailedAttempt:
        """Read one attempt, with its raw values.

        Raises:
            DataError: It is missing, damaged, or of another version of bakeoff.
        """
        path = self._attempt_path(digest_json(key), attempt)
        try:
            return self._read(path)
        except FileNotFoundError:
            raise DataError(str(path), found="no such file", expected="a measured attempt") from None

    def list_attempts(self) -> list[Measurement | FailedAttempt]:
        """List every attempt on this disk, without raw values, in the order of keys and attempts."""
        return [attempt for _, attempt in self._iterate()]

    def holds(self, key_digest: str, attempt: int) -> bool:
        """Return whether an attempt is here, and undamaged."""
        return self._find(self._attempt_path(key_digest, attempt), with_arrays=False) is not None

    @property
    def n_attempts(self) -> int:
        """Number of attempts here."""
        return sum(1 for _ in self.folder.glob("jobs/*/*.json"))

    def list_packed(self) -> list[PackedAttempt]:
        """Pack the files of every attempt here."""
        return [_pack(path) for path, _ in self._iterate()]

    def pack(self, job: Job, attempt: int) -> PackedAttempt:
        """Pack the files of one attempt."""
        return _pack(self._path(job, attempt))

    def remove(self, key_digest: str, attempt: int) -> None:
        """Remove an attempt that is kept elsewhere, first the file that makes it count."""
        path = self._attempt_path(key_digest, attempt)
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            durable.sync(path.parent)  # at no time may it be there without the others
        for suffix in _SUFFIXES[1:]:
            path.with_suffix(suffix).unlink(missing_ok=True)

    def list_existing(self, champion_run_ids: Iterable[str]) -> list[ExistingBenchmark]:
        """List all attempts of some champions on this disk."""
        wanted = set(champion_run_ids)
        return [
            summarize(attempt, _read_mark(path))
            for path, attempt in self._iterate()
            if attempt.job.champion_run_id in wanted
        ]

    def list_interrupted(self) -> frozenset[str]:
        """List the key digests of jobs with measured parts and without a complete attempt."""
        alone = (
            folder.name.rsplit("-", 1)[0]
            for folder in self.folder.glob("work/*-*")
            if not folder.name.startswith(HEAT_PREFIX) and any(path.is_file() for path in folder.rglob("*"))
        )
        together = (
            folder.name
            for heat in self.folder.glob(f"work/{HEAT_PREFIX}*")
            if any(heat.glob("repeat-*.json"))
            for folder in heat.iterdir()
            if folder.is_dir()
        )
        return frozenset((*alone, *together))

    def find_logged(self, key: str, attempt: int) -> LoggedRun | None:
        """Find the run of an attempt; None if it was not logged."""
        return _read_mark(self._attempt_path(digest_json(key), attempt))

    def mark_logged(self, attempt: Measurement | FailedAttempt, logged: LoggedRun) -> None:
        """Note that a tracking store has an attempt."""
        path = self._path(attempt.job, attempt.attempt).with_suffix(".logged")
        durable.write_bytes(path, seal_json(logged.model_dump(mode="json")))

    def is_forced(self, attempt: Measurement | FailedAttempt) -> bool:
        """Return whether it was measured although an earlier attempt counted."""
        return self._path(attempt.job, attempt.attempt).with_suffix(FORCED).is_file()

    def set_aside(self, attempt: Measurement | FailedAttempt) -> Path:
        """Move a superseded attempt to a folder where it does not count; return its new path."""
        path = self._path(attempt.job, attempt.attempt)
        logged = _read_mark(path)
        place = path.parent / SUPERSEDED / f"{path.stem}-{logged.run_id[:12] if logged else 'unlogged'}.json"
        with durable.storage_faults(place, "setting aside"):
            durable.ensure_folder(place.parent)
            for suffix in _SUFFIXES:
                if path.with_suffix(suffix).is_file():
                    path.with_suffix(suffix).replace(place.with_suffix(suffix))
                    durable.sync(path.parent)  # at no time may the first one be there without the others
        return place

    def list_waiting(self) -> list[Measurement | FailedAttempt]:
        """List the attempts that no tracking store has, with raw values, in the order of their numbers."""
        return [attempt for path, attempt in self._iterate(with_arrays=True) if _read_mark(path) is None]

    def set_damaged_aside(self) -> list[Path]:
        """Move every damaged attempt to a folder where nothing reads it; return the new paths.

        Call it while no other process measures in this folder.
        """
        moved = []
        for path in sorted(self.folder.glob("jobs/*/*.json")):
            try:
                self._read(path)
            except FileNotFoundError:
                continue
            except DamagedResultError as error:
                place = self._move_damaged(path)
                self._notify(f"{error}; moved to {place}")
                moved.append(place)
        return moved

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half written.

        Call it while no other process measures in this folder.
        """
        for path in self.folder.glob("jobs/*/.*"):
            if _LEFTOVERS.fullmatch(path.name) and not path.parent.is_symlink():
                with durable.storage_faults(path, "removing"):
                    path.unlink(missing_ok=True)

    def _move_damaged(self, path: Path) -> Path:
        # What is in a linked folder belongs to others: the link goes, and they stay.
        found = [path.parent] if path.parent.is_symlink() else [path.with_suffix(each) for each in _SUFFIXES]
        place = self.folder / DAMAGED / path.parent.name / f"{path.stem}-{uuid.uuid4().hex[:8]}"
        with durable.storage_faults(place, "setting aside"):
            durable.ensure_folder(place.parent)
            for each in found:
                if os.path.lexists(each):
                    os.rename(each, place.with_suffix(each.suffix))  # noqa: PTH104 - links move as they are
            durable.sync(path.parent.parent if path.parent in found else path.parent)
        return place.with_suffix("" if path.parent in found else path.suffix)

    def _iterate(self, *, with_arrays: bool = False) -> Iterator[tuple[Path, Measurement | FailedAttempt]]:
        """Read every undamaged attempt, in the order of keys and attempts."""
        for path in sorted(self.folder.glob("jobs/*/*.json")):
            attempt = self._find(path, with_arrays=with_arrays)
            if attempt is not None:
                yield path, attempt

    def _find(self, path: Path, *, with_arrays: bool = True) -> Measurement | FailedAttempt | None:
        """Read an attempt; None if it is missing or damaged, which is reported once."""
        try:
            return self._read(path, with_arrays=with_arrays)
        except FileNotFoundError:
            return None
        except DamagedResultError as error:
            if str(error) not in self._named:
                self._named.add(str(error))
                self._notify(str(error))
            return None

    def _read(self, path: Path, *, with_arrays: bool = True) -> Measurement | FailedAttempt:
        """Read an attempt, and check that it lies where its job and number belong."""
        if path.parent.is_symlink():
            raise DamagedResultError(str(path.parent), found="a symbolic link, not a folder")
        attempt = read_attempt(path, with_arrays=with_arrays)
        if path != self._path(attempt.job, attempt.attempt):
            found = f"attempt {attempt.attempt} of {attempt.job.label}, which belongs elsewhere"
            raise DamagedResultError(str(path), found=found)
        return attempt

    def attempt_files(self, attempt: Measurement | FailedAttempt) -> list[Path]:
        """List the files of an attempt, for upload."""
        path = self._path(attempt.job, attempt.attempt)
        return [file for file in (path, path.with_suffix(".npz")) if file.is_file()]

    def work_folder(self, job: Job, attempt: int, part: str = "") -> Path:
        """Make an attempt's working folder, or one part of it, for its worker's order and outcome."""
        return durable.make_folder(self.folder / "work" / f"{job.key_digest}-{attempt:03d}" / part)

    def heat_folder(self, heat_id: str) -> Path:
        """Make a heat's working folder, which keeps its repeats until all measurements are stored."""
        return durable.make_folder(self.folder / "work" / f"{HEAT_PREFIX}{heat_id[:16]}")

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        """Open a temporary folder for incoming files."""
        place = durable.make_folder(self.folder)
        with tempfile.TemporaryDirectory(dir=place, prefix=".receiving-") as folder:
            yield Path(folder)

    def adopt(self, job: Job, attempt: int, folder: Path, logged: LoggedRun) -> None:
        """Keep an attempt from the tracking store, if it belongs to this job.

        Raises:
            DataError: The files are broken or of another job.
        """
        source = folder / f"{attempt:03d}.json"
        found = read_attempt(source)
        if found.job.key != job.key or found.attempt != attempt:
            raise DataError(str(source), found=f"key {found.job.key}", expected=f"key {job.key}")
        if self.holds(job.key_digest, attempt):
            self.set_aside(found)  # the attempt with this number here is of another run
        self.store(found)
        self.mark_logged(found, logged)

    def write_champion(self, measurements: list[Measurement]) -> Path:
        """Write ``benchmark.json`` of one champion from its measurements.

        Args:
            measurements: All measurements of one champion. The first timed one names the reference runtime,
                whose figures also appear at the top level, in the field's simple shape.
        """
        job = measurements[0].job
        path = self.folder / "champions" / f"{job.backbone}-{job.champion_run_id[:12]}" / "benchmark.json"
        durable.write_json(path, describe_champion(measurements))
        return path

    def _path(self, job: Job, attempt: int) -> Path:
        return self._attempt_path(job.key_digest, attempt)

    def _attempt_path(self, key_digest: str, attempt: int) -> Path:
        return self.folder / "jobs" / key_digest / f"{attempt:03d}.json"

    def _attempt_files(self, job: Job) -> list[Path]:
        return list((self.folder / "jobs" / job.key_digest).glob("*.json"))


def _pack(path: Path) -> PackedAttempt:
    try:
        arrays = read_regular(path.with_suffix(".npz"), MAX_ARRAYS_BYTES, follows_links=False)
    except FileNotFoundError:
        arrays = b""
    return PackedAttempt(
        key_digest=path.parent.name,
        number=int(path.stem),
        document=read_regular(path, MAX_DOCUMENT_BYTES, follows_links=False),
        arrays=arrays,
        is_forced=path.with_suffix(FORCED).is_file(),
    )


def _read_mark(path: Path) -> LoggedRun | None:
    """Read a mark. An unreadable one counts as missing: logging again finds and adopts the run."""
    try:
        mark = read_regular(path.with_suffix(".logged"), _MAX_MARK_BYTES, follows_links=False)
        return LoggedRun.model_validate(open_sealed(mark))
    except (OSError, ValueError):
        return None
