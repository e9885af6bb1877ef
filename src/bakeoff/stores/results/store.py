"""The disk cache of measurements: every measurement is stored here first.

results/jobs/KEY_DIGEST/ATTEMPT.json       a Measurement without its raw values, or a FailedAttempt
results/jobs/KEY_DIGEST/ATTEMPT.npz        the raw values, written first; optional for a failed attempt
results/jobs/KEY_DIGEST/ATTEMPT.forced     present if it was measured although an earlier attempt counted
results/jobs/KEY_DIGEST/ATTEMPT.logged     a LoggedRun; written when the tracking store has it
results/jobs/KEY_DIGEST/superseded/        attempts that another machine finished first; they do not count
results/work/KEY_DIGEST-ATTEMPT/           parts of an attempt that is not complete yet
results/champions/BACKBONE-RUN/benchmark.json
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bakeoff.core.job import Job
from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.records import FailedAttempt, Measurement
from bakeoff.core.validity.noise import is_only_contended
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.errors import DataError
from bakeoff.record import Record
from bakeoff.stores.results.attempt_files import detach_arrays, read_attempt
from bakeoff.stores.results.benchmark_json import describe_champion

HEAT_PREFIX = "heat-"
SUPERSEDED = "superseded"
FORCED = ".forced"


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


class LoggedRun(Record):
    """Place of a logged attempt.

    Attributes:
        store: URI of the tracking store, without password.
        experiment_id: Id of the run's experiment.
        run_id: Id of the run.
    """

    format_version: Literal[1] = 1
    store: str
    experiment_id: str
    run_id: str


class ResultStore:
    """Attempts of jobs in a folder. Files are written whole, so several processes may share it.

    Args:
        folder: Folder of the store, made with the first result.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def token(self) -> str:
        """Id of this folder for the machines that measure, made at the first use."""
        path = self.folder / ".token"
        if not path.is_file():
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
        document = attempt.model_dump(mode="json")
        if isinstance(attempt, FailedAttempt) and not attempt.readings:
            del document["readings"]
        else:
            durable.write_bytes(path.with_suffix(".npz"), detach_arrays(document))
        durable.write_json(path, document)
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
            attempt = read_attempt(path)
            if isinstance(attempt, Measurement) and attempt.is_valid:
                return _name_as(attempt, job)
        return None

    def load_contended(self, job: Job, among: Collection[int]) -> Measurement | None:
        """Find the newest measurement of a job that only a busy machine made invalid.

        Args:
            job: Job to look for.
            among: Numbers of the attempts that may count.
        """
        for path in sorted(self._attempt_files(job), reverse=True):
            attempt = read_attempt(path) if path.stem in {f"{number:03d}" for number in among} else None
            if isinstance(attempt, Measurement) and is_only_contended(attempt):
                return _name_as(attempt, job)
        return None

    def load(self, key: str, attempt: int) -> Measurement | FailedAttempt:
        """Read one attempt, with its raw values."""
        return read_attempt(self._attempt_path(digest_json(key), attempt))

    def list_attempts(self) -> list[Measurement | FailedAttempt]:
        """List every attempt on this disk, without raw values, in the order of keys and attempts."""
        return [read_attempt(path, with_arrays=False) for path in sorted(self.folder.glob("jobs/*/*.json"))]

    def holds(self, key_digest: str, attempt: int) -> bool:
        """Return whether an attempt is here."""
        return self._attempt_path(key_digest, attempt).is_file()

    @property
    def n_attempts(self) -> int:
        """Number of attempts here."""
        return sum(1 for _ in self.folder.glob("jobs/*/*.json"))

    def list_packed(self) -> list[PackedAttempt]:
        """Pack the files of every attempt here."""
        return [_pack(path) for path in sorted(self.folder.glob("jobs/*/*.json"))]

    def pack(self, job: Job, attempt: int) -> PackedAttempt:
        """Pack the files of one attempt."""
        return _pack(self._path(job, attempt))

    def remove(self, key_digest: str, attempt: int) -> None:
        """Remove an attempt that is kept elsewhere, first the file that makes it count."""
        path = self._attempt_path(key_digest, attempt)
        for suffix in (".json", ".npz", ".logged", FORCED):
            path.with_suffix(suffix).unlink(missing_ok=True)

    def list_existing(self, champion_run_ids: Iterable[str]) -> list[ExistingBenchmark]:
        """List all attempts of some champions on this disk."""
        wanted = set(champion_run_ids)
        found = []
        for path in sorted(self.folder.glob("jobs/*/*.json")):
            attempt = read_attempt(path, with_arrays=False)
            if attempt.job.champion_run_id in wanted:
                found.append(_summarize(attempt, _read_mark(path)))
        return found

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
        durable.write_json(path, logged.model_dump(mode="json"))

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
            for suffix in (".json", ".npz", ".logged", FORCED):
                if path.with_suffix(suffix).is_file():
                    path.with_suffix(suffix).replace(place.with_suffix(suffix))
            durable.sync(path.parent)
        return place

    def list_waiting(self) -> list[Measurement | FailedAttempt]:
        """List the attempts that no tracking store has, with raw values, in the order of their numbers."""
        paths = [path for path in sorted(self.folder.glob("jobs/*/*.json")) if _read_mark(path) is None]
        return [read_attempt(path) for path in paths]

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
        if self._path(job, attempt).is_file():
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
    arrays = path.with_suffix(".npz")
    return PackedAttempt(
        key_digest=path.parent.name,
        number=int(path.stem),
        document=path.read_bytes(),
        arrays=arrays.read_bytes() if arrays.is_file() else b"",
        is_forced=path.with_suffix(FORCED).is_file(),
    )


def _read_mark(path: Path) -> LoggedRun | None:
    """Read a mark. An unreadable one counts as missing: logging again finds and adopts the run."""
    try:
        return LoggedRun.model_validate_json(path.with_suffix(".logged").read_bytes())
    except (OSError, ValidationError):
        return None


def _summarize(attempt: Measurement | FailedAttempt, logged: LoggedRun | None) -> ExistingBenchmark:
    if isinstance(attempt, Measurement):
        state, reason, when = (
            "valid" if attempt.is_valid else "invalid",
            "" if attempt.is_valid else attempt.validity,
            attempt.measured_at,
        )
    else:
        state, reason, when = "failed", attempt.reason, attempt.failed_at
    return ExistingBenchmark.model_validate(
        {
            "key": attempt.job.key,
            "champion_run_id": attempt.job.champion_run_id,
            "parts": attempt.job.parts,
            "state": state,
            "attempt": attempt.attempt,
            "reason": reason,
            "measured_at": when,
            "run_id": logged.run_id if logged else None,
            "on_disk": True,
        }
    )


def _name_as(measurement: Measurement, job: Job) -> Measurement:
    """Give a measurement of a named model its present name and source, which are no part of the key."""
    measured = measurement.job
    if job.source is None or (measured.backbone, measured.source) == (job.backbone, job.source):
        return measurement
    named, heat = measured.replace(backbone=job.backbone, source=job.source), measurement.heat
    if heat is not None:
        candidates = tuple(
            named.candidate if each == measured.candidate else each for each in heat.candidates
        )
        reference = named.candidate if heat.reference_key == measured.key else heat.reference
        heat = heat.replace(candidates=candidates, reference=reference)
    return measurement.replace(job=named, heat=heat)
