"""Finder of the measurements that a text names.

A text names, in this order: a file that bakeoff wrote; a benchmark key or its digest, or the beginning of
either; a run of the tracking store; a candidate of this project, or the beginning of its label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from bakeoff.core.comparison.gate import Side
from bakeoff.core.decision.decide import Decision, parse_decision, read_decision
from bakeoff.core.decision.standings import Standing
from bakeoff.core.identity import BenchmarkKey, is_run_id
from bakeoff.core.job import Job
from bakeoff.core.plan.existing import ExistingBenchmark, invalid_attempts, sound_attempts, valid_attempts
from bakeoff.core.quality import measure_quality
from bakeoff.core.records import AnyModel, FailedAttempt, Measurement
from bakeoff.core.validity.noise import is_only_contended
from bakeoff.disk.digest import digest_json, shorten
from bakeoff.disk.inputs import MAX_RECORD_BYTES, read_regular
from bakeoff.disk.sealed import SEAL
from bakeoff.errors import CandidateNotFoundError, DataError, UserError
from bakeoff.measure.statistics.readings import LATENCY, NS_PER_MS, OUTCOMES
from bakeoff.orchestrator.checkpoints import find_models
from bakeoff.orchestrator.hardware import recall_hardware
from bakeoff.orchestrator.plan import build_jobs, choose_measured, find_existing
from bakeoff.orchestrator.project import Project
from bakeoff.stores.results.attempt_files import read_attempt
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking import benchmarks

Accepts = Callable[[Measurement], bool]
_WITH_ATTEMPT = re.compile(r"(?P<name>.+)@(?P<attempt>[1-9]\d{0,5})", re.DOTALL)
_LEAST_DIGITS = 4
_SUFFIX = ".json"
_PRINTS_DECISION = "decide"


class Named(NamedTuple):
    """Measurements that a text names.

    Attributes:
        sides: One candidate, or all candidates of a decision or of a champion's ``benchmark.json``.
        is_set: Whether it may have several sides.
        is_job: Whether the text names one benchmark, not all benchmarks of its candidate.
        winner: Winner, if the text names a decision that has one.
        metric: Metric of quality, if the text names a decision.
    """

    sides: tuple[Side, ...]
    is_set: bool = False
    is_job: bool = False
    winner: str | None = None
    metric: str | None = None


class Finder:
    """Finder that lists the disk once, and asks the tracking store only if it must.

    Args:
        project: Project with the results, labels and tracking store.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    @cached_property
    def _attempts(self) -> list[Measurement | FailedAttempt]:
        return self._project.results.list_attempts()

    @cached_property
    def _candidates(self) -> dict[tuple[str, str, str], list[Job]]:
        """Planned jobs of each candidate."""
        grouped: dict[tuple[str, str, str], list[Job]] = {}
        asked = build_jobs(self._project, self._models, recall_hardware(self._project))
        for job in choose_measured(self._project, asked, self._existing):
            identity = job.candidate, job.champion_run_id, job.runtime.model_dump_json()
            grouped.setdefault(identity, []).append(job)
        return grouped

    @cached_property
    def _models(self) -> tuple[AnyModel, ...]:
        return find_models(self._project)

    @cached_property
    def _existing(self) -> list[ExistingBenchmark]:
        return find_existing(self._project, self._models)

    def find(self, text: str) -> Named:
        """Find what a text names, with its raw values.

        Raises:
            UserError: The text names a benchmark without measurement.
        """
        if text.endswith(_SUFFIX) or _is_file(text):
            return self._open(Path(text))
        match = _WITH_ATTEMPT.fullmatch(text)
        name, attempt = (match["name"], int(match["attempt"])) if match else (text, None)
        keys = self._find_keys(name)
        if len(keys) == 1:
            return Named((self._load_key(keys[0], attempt),), is_job=True)
        if keys:
            raise CandidateNotFoundError(text, self._list(keys), is_ambiguous=True)
        if is_run_id(name):
            return self._fetch(name)
        return Named((self._find_candidate(text, name, attempt),))

    def _find_keys(self, name: str) -> list[BenchmarkKey]:
        keys = list(dict.fromkeys(each.job.key for each in self._attempts))
        exact = [key for key in keys if name in (key, key.digest)]
        if exact or len(name) < _LEAST_DIGITS:
            return exact
        return [key for key in keys if key.digest.startswith(name) or (":" in name and key.startswith(name))]

    def _load_key(self, key: str, number: int | None) -> Side:
        """Load the named attempt of a job, else the newest that counts, else one from a busy machine."""
        mine = [each for each in self._attempts if each.job.key == key]
        if number is not None:
            mine = [each for each in mine if each.attempt == number]
            if not mine:
                raise CandidateNotFoundError(
                    f"{shorten(digest_json(key))}@{number}", self._list([key]), is_ambiguous=False
                )
        measured = [each for each in mine if isinstance(each, Measurement)]
        chosen = max(
            measured, key=lambda each: (each.is_valid, is_only_contended(each), each.attempt), default=None
        )
        if chosen is None:
            raise UserError(f"{mine[-1].job.label}: all its attempts failed, so there is nothing to compare")
        return _side_of(self._load(chosen))

    def _find_candidate(self, text: str, name: str, at_most: int | None) -> Side:
        wanted = name.replace(" x ", " × ")
        exact = [identity for identity in self._candidates if identity[0] == wanted]
        meant = exact or [each for each in self._candidates if wanted and each[0].startswith(wanted)]
        if len(meant) != 1:
            keys = [job.key for identity in meant for job in self._candidates[identity]]
            there = self._list(keys or [each.job.key for each in self._attempts])
            raise CandidateNotFoundError(text, there, is_ambiguous=bool(meant))
        jobs = self._candidates[meant[0]]
        counting = valid_attempts if at_most is None else sound_attempts
        found, missing = [], []
        for job in jobs:
            numbers = [
                {number for number in numbers if at_most is None or number <= at_most}
                for numbers in (
                    counting(self._existing, job.key),
                    invalid_attempts(self._existing, job.key),
                )
            ]
            results = self._project.results
            measurement = results.load_valid(job, numbers[0]) or results.load_contended(job, numbers[1])
            if measurement is None:
                missing.append(f"{job.label}: not measured, or not on this disk; run `bakeoff bench`")
            else:
                found.append(measurement)
        if not found:
            raise CandidateNotFoundError(text, self._list(job.key for job in jobs), is_ambiguous=False)
        return Side(meant[0][0], tuple(found), tuple(missing))

    def _open(self, path: Path) -> Named:
        document = _read_document(path)
        printed = document.get("result") if document.get("command") == _PRINTS_DECISION else document
        if isinstance(printed, dict) and "standings" in printed:
            if SEAL in printed:
                return self._gather_decision(read_decision(read_regular(path, MAX_RECORD_BYTES), str(path)))
            # The output of `bakeoff decide --json` carries no digest.
            return self._gather_decision(parse_decision(printed, str(path)))
        if "runtimes" in document:
            return self._read_champion(path, document)
        attempt = read_attempt(path)
        if isinstance(attempt, FailedAttempt):
            raise UserError(
                f"{path}: {attempt.job.label} failed ({attempt.reason}), so there is nothing to compare"
            )
        return Named((_side_of(attempt),), is_job=True)

    def _fetch(self, run_id: str) -> Named:
        stage = benchmarks.find_stage(self._project.tracker, run_id)
        if stage not in (Stage.BENCHMARK, Stage.DECISION):
            found = f"a run of stage {stage}" if stage else "a run that bakeoff did not write"
            raise DataError(f"run {run_id}", found=found, expected="a benchmark or a decision")
        with self._project.results.receiving() as folder:
            fetched = self._project.tracker.download(run_id, stage, folder)
            files = sorted(fetched.glob(f"*{_SUFFIX}"))
            if not files:
                raise DataError(f"run {run_id}", found="no result file", expected="one that bakeoff wrote")
            return self._open(files[0])

    def _gather_decision(self, decision: Decision) -> Named:
        sides = [
            self._gather(row.label, {key: _shown_by(row, decision) for key in row.benchmark_keys})
            for row in decision.standings
        ]
        metric = decision.metric.name if decision.metric is not None else None
        return Named(tuple(sides), is_set=True, winner=decision.winner, metric=metric)

    def _read_champion(self, path: Path, document: Mapping[str, Any]) -> Named:
        sides = []
        try:
            for runtime, shape in document["runtimes"].items():
                entries = [
                    each
                    for part in (shape, *shape.get("more", ()))
                    for each in part.values()
                    if isinstance(each, dict) and "benchmark_key" in each
                ]
                wanted = {str(each["benchmark_key"]): _measured_at(each["measured_at"]) for each in entries}
                sides.append(self._gather(f"{document['backbone']} × {runtime}", wanted))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                str(path),
                found=f"no benchmarks ({error})",
                expected="a file that `bakeoff bench` wrote",
            ) from error
        return Named(tuple(sides), is_set=True)

    def _gather(self, label: str, wanted: Mapping[str, Accepts]) -> Side:
        """Find the measurements that a file lists, on this disk or in the tracking store."""
        found, missing = [], []
        where = "on this disk" if self._project.is_offline else "on this disk or in the tracking store"
        for key, accepts in wanted.items():
            measurement = self._find_measurement(key, accepts)
            if measurement is None:
                missing.append(
                    f"{label}: no attempt at {shorten(digest_json(key))} {where} has the figures of the file"
                )
            else:
                found.append(measurement)
        return Side(label, tuple(found), tuple(missing))

    def _find_measurement(self, key: str, accepts: Accepts) -> Measurement | None:
        newest_first = sorted(
            (each for each in self._attempts if each.job.key == key and isinstance(each, Measurement)),
            key=lambda each: -each.attempt,
        )
        for each in newest_first:
            loaded = self._load(each)
            if accepts(loaded):
                return loaded
        project = self._project
        if project.is_offline:
            return None
        experiment_id = project.find_benchmark_experiment()
        runs = benchmarks.find_runs_of_key(project.tracker, experiment_id, key) if experiment_id else []
        for run_id in reversed(runs):
            with project.results.receiving() as folder:
                for path in project.tracker.download(run_id, Stage.BENCHMARK, folder).glob(f"*{_SUFFIX}"):
                    attempt = read_attempt(path)
                    if isinstance(attempt, Measurement) and attempt.job.key == key and accepts(attempt):
                        return attempt
        return None

    def _load(self, attempt: Measurement) -> Measurement:
        loaded = self._project.results.load(attempt.job.key, attempt.attempt)
        if isinstance(loaded, FailedAttempt):
            raise TypeError(f"attempt {attempt.attempt} at {attempt.job.label} changed while it was read")
        return loaded

    def _list(self, keys: Iterable[str]) -> list[str]:
        """List the attempts on this disk, one line a key."""
        lines = []
        for key in dict.fromkeys(keys):
            mine = [each for each in self._attempts if each.job.key == key]
            if mine:
                numbers = ", ".join(str(each.attempt) for each in mine)
                lines.append(f"{shorten(digest_json(key))}  {mine[0].job.label}  (attempt {numbers})")
        return sorted(lines)


def _side_of(measurement: Measurement) -> Side:
    return Side(measurement.job.candidate, (measurement,))


def _shown_by(standing: Standing, decision: Decision) -> Accepts:
    """Return a test for the exact figures of a standing, since standings do not name attempts."""
    settings = decision.settings

    def accepts(measurement: Measurement) -> bool:
        outcomes = measurement.reading(OUTCOMES)
        if outcomes is not None:
            if decision.metric is None or standing.quality is None:
                return False
            metric = measurement.job.task.find_metric(decision.metric.name)
            return measure_quality(outcomes, metric) == standing.quality.value
        calls = measurement.reading(LATENCY, batch_size=settings.batch_size)
        if calls is None:
            return True
        interval = calls.quantile(settings.quantile, settings.confidence)
        return interval is not None and interval.value / NS_PER_MS == standing.latency_ms.value

    return accepts


def _measured_at(when: object) -> Accepts:
    return lambda measurement: measurement.measured_at == when


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_regular(path, MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            str(path), found=f"no readable JSON ({error})", expected="a file that bakeoff wrote"
        ) from error
    if not isinstance(document, dict):
        raise DataError(str(path), found=type(document).__name__, expected="a file that bakeoff wrote")
    return document


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long for a file name
        return False
