"""Heats: candidates measured together; each repeat is on disk before the next begins."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from pydantic import ValidationError

from bakeoff.core.job import Environment, Job, TimedJob, is_race
from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import Flag, HeatFacts, Measurement
from bakeoff.core.validity.flags import RECOMPILED, STOPPED_EARLY
from bakeoff.core.validity.judge import judge_measurement
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.disk.inputs import read_regular
from bakeoff.disk.sealed import open_sealed, seal_json
from bakeoff.errors import BakeoffError, WorkerError
from bakeoff.measure.backends import RowBackend
from bakeoff.measure.heats.assemble import (
    Calls,
    assemble_calls,
    assemble_readings,
    count_done,
    find_counted,
    find_left_out,
)
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.records import Heat, HeatLook, Part, Repeat
from bakeoff.measure.heats.run import run_heat
from bakeoff.measure.heats.stopping import find_unmet
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.row_model import open_row_model
from bakeoff.measure.scenarios import Interleaved
from bakeoff.measure.statistics.readings import LATENCY, MODEL_SIZE, NS_PER_S, PASS, Reading
from bakeoff.measure.system.cgroups import read_memory_left_bytes
from bakeoff.measure.system.core_to_core import make_core_to_core_probe
from bakeoff.orchestrator.bench.claims import BenchClaims
from bakeoff.orchestrator.bench.limits import TIMEOUT_S
from bakeoff.orchestrator.bench.preparations import prepare_together
from bakeoff.orchestrator.bench.prepare import (
    EndsOneJob,
    JobOutcomes,
    PreparedJob,
    acquire_job,
    flag_mixed,
    make_order,
    now_text,
)
from bakeoff.orchestrator.bench.race import Race
from bakeoff.orchestrator.plan import documents_for
from bakeoff.orchestrator.progress import Advance, warn
from bakeoff.orchestrator.project import Project
from bakeoff.plural import count
from bakeoff.record import Record
from bakeoff.run.machine.hardware import add_load_after, default_threads, detect_hardware
from bakeoff.run.measuring.resident import ResidentWorker

# Share of the free memory that the candidates of a heat may hold together.
MEMORY_SHARE = 0.6
MAX_REPEAT_BYTES = 1 << 30


class KeptRepeat(Record):
    """One repeat of a heat on disk; an interrupted heat goes on after it.

    Attributes:
        heat: Name of the heat's folder.
    """

    heat: str
    repeat: Repeat
    environments: Mapping[str, Environment]


def measure_heat(
    project: Project,
    unit: Sequence[PlannedJob],
    claims: BenchClaims,
    advance: Advance,
    race: Race | None = None,
) -> None:
    """Measure the candidates of a heat together; one that cannot be prepared drops out, the others go on.

    Args:
        project: Project of the jobs.
        unit: Jobs of the heat, the reference first.
        claims: Gets the outcome of each job.
        advance: Called after each repeat.
        race: Race of the bench, which may end the heat of jobs that race; None ends it by its targets.
    """
    ready = _prepare_all(project, unit, claims)
    if not any(each.planned.action == "measure" for each in ready):
        return
    begin_s = time.monotonic()
    heat_id = digest_json([[each.job.key, each.planned.attempt] for each in ready])
    files = _HeatFiles(project.results.heat_folder(heat_id))
    lengths = _count_tokens(project, ready[0])
    participants = [
        ResidentWorker(
            each.job.key,
            make_order(project, each, 0, lengths),
            files.folder / each.job.key_digest,
            project.settings.benchmark.timeout_s or TIMEOUT_S,
            on_wait=claims.beat,
        )
        for each in ready
    ]

    def look(heat: Heat) -> HeatLook:
        now = _Described(heat, heat_id, ready, time.monotonic() - begin_s, files.environments)
        measured = [row for row in _assemble_all(project, now).values() if isinstance(row, Measurement)]
        repeats = count_done(heat.repeats, find_left_out(heat.repeats))
        return race.look(measured, repeats, protocol.max_repeats) if race else HeatLook()

    protocol = _timed(ready[0].job).protocol
    may_race = race is not None and any(is_race(each.job) for each in ready)
    width = _Width(protocol, _quantity_of(ready[0].job), ready[0].job.key, begin_s)
    heat = run_heat(
        participants,
        protocol,
        now_s=time.monotonic,
        memory_budget_bytes=MEMORY_SHARE * min(psutil.virtual_memory().available, read_memory_left_bytes()),
        earlier=width.recall(files.load()),
        keep=lambda repeat: advance(files.keep(repeat, participants) + width.describe(repeat)),
        pause=claims.beat,
        probe=_choose_probe(project, ready),
        quantity=_quantity_of(ready[0].job),
        # Importing keeps one thread busy; on a core of its own it takes as long as alone.
        n_importing=default_threads(detect_hardware(project.settings.benchmark.cpus)),
        look=look if may_race else None,
    )
    described = _Described(heat, heat_id, ready, time.monotonic() - begin_s, files.environments)
    _keep_results(project, described, claims.outcomes, race.dropped if race else {})
    shutil.rmtree(files.folder, ignore_errors=True)


def _prepare_all(project: Project, unit: Sequence[PlannedJob], claims: BenchClaims) -> list[PreparedJob]:
    """Prepare the jobs of a heat, and keep a failed attempt of each that cannot be prepared."""
    found: list[PreparedJob] = []
    lost: list[tuple[PlannedJob, BakeoffError]] = []
    for planned in unit:
        try:
            with claims.beating():
                found.append(acquire_job(project, planned))
        except EndsOneJob as error:
            lost.append((planned, error))
    broken = prepare_together(project, found, claims)
    lost += [(each.planned, broken[each.prepared]) for each in found if each.prepared in broken]
    for planned, why in lost:
        if planned.action == "measure":
            claims.outcomes.fail(project, planned, why)
        else:
            warn(f"{planned.job.candidate} cannot be the reference: {why}")
    return [each for each in found if each.prepared not in broken]


class _Width:
    """Progress of a heat in words: its widest interval next to the target, and the time left at most.

    Args:
        protocol: Settings of the heat.
        quantity: Quantity that its calls measure.
        reference: Name of the participant that the others are compared with.
        begin_s: Start of the heat, on the monotonic clock.
    """

    def __init__(self, protocol: TimingProtocol, quantity: str, reference: str, begin_s: float) -> None:
        self._protocol = protocol
        self._quantity = quantity
        self._reference = reference
        self._begin_s = begin_s
        self._repeats: list[Repeat] = []

    def recall(self, earlier: list[Repeat]) -> list[Repeat]:
        """Take over the repeats of an interrupted run, and return them."""
        self._repeats += earlier
        return earlier

    def describe(self, repeat: Repeat) -> str:
        """Describe the state after a repeat; with all targets met, only the time."""
        self._repeats.append(repeat)
        protocol = self._protocol
        names = {part.name for part in repeat.parts}
        heat = Heat(reference=self._reference, repeats=tuple(self._repeats))
        left_out = find_left_out(self._repeats)
        unmet = list(find_unmet(heat, protocol.targets, left_out, self._quantity, among=names))
        spent_s = time.monotonic() - self._begin_s
        each_s, n_done = spent_s / len(self._repeats), len(self._repeats)
        most_s = each_s * max(protocol.max_repeats - n_done, 0)
        least_s = each_s * max(protocol.min_repeats - n_done, 0)  # the budget does not spare these
        left_s = max(min(protocol.time_budget_s - spent_s, most_s), least_s)
        remark = f"; at most {left_s:.0f} s more"
        if not unmet:
            return remark
        widest = max(unmet, key=lambda each: (each.half_width or math.inf) / each.target)
        found = "no interval yet" if widest.half_width is None else f"±{widest.half_width:.0%}"
        return f"; widest interval: {found} of {widest.metric} (target ±{widest.target:.1%}){remark}"


class _HeatFiles:
    """Repeats of a heat on disk: each is there before the next begins, and an interrupted heat goes on.

    Args:
        folder: Folder of the heat.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environments: list[Mapping[str, Environment]] = []

    def load(self) -> list[Repeat]:
        """Load the repeats of an interrupted run, up to the first that is damaged or of another version."""
        found: list[Repeat] = []
        while os.path.lexists(path := self._path(len(found))):
            try:
                document = open_sealed(read_regular(path, MAX_REPEAT_BYTES, follows_links=False))
                kept = KeptRepeat.model_validate(document)
                if (kept.heat, kept.repeat.number) != (self.folder.name, len(found)):
                    raise ValueError(f"it is repeat {kept.repeat.number} of {kept.heat}")  # noqa: TRY301
            except (OSError, ValueError) as error:
                reason = "another version" if isinstance(error, ValidationError) else str(error)
                warn(f"{path}: not used ({reason}); this repeat is measured again")
                break
            found.append(kept.repeat)
            self.environments.append(kept.environments)
        return found

    def keep(self, repeat: Repeat, participants: Sequence[ResidentWorker]) -> str:
        """Write a repeat, and describe it in a line."""
        seen = {
            each.name: each.environments[repeat.number]
            for each in participants
            if repeat.number in each.environments
        }
        self.environments.append(seen)
        document = KeptRepeat(heat=self.folder.name, repeat=repeat, environments=seen)
        durable.write_bytes(self._path(repeat.number), seal_json(document.model_dump(mode="json")))
        n_dirty = sum(repeat.rounds.values())
        remark = f", {count(n_dirty, 'round')} disturbed" if n_dirty else ""
        return f"{count(len(repeat.parts), 'candidate')}, repeat {repeat.number + 1}{remark}"

    def _path(self, number: int) -> Path:
        return self.folder / f"repeat-{number:03d}.json"


@dataclass(frozen=True)
class _Described:
    """A heat that has ended, with everything that its measurements say about it.

    Attributes:
        ready: Its jobs, the reference first.
        wall_s: Wall time of the whole heat.
        environments: Environment of each participant by its name, for each repeat.
    """

    heat: Heat
    heat_id: str
    ready: Sequence[PreparedJob]
    wall_s: float
    environments: Sequence[Mapping[str, Environment]]

    def facts_for(self, job: Job) -> HeatFacts:
        """Describe the heat to one of its jobs."""
        heat = self.heat
        labels: dict[str, str] = {each.job.key: each.job.candidate for each in self.ready}
        counted = {repeat for repeat, _ in find_counted(find_left_out(heat.repeats))}
        started = sorted(
            (part.started for each in heat.repeats for part in each.parts), key=lambda one: one.at_ns
        )
        return HeatFacts(
            heat_id=self.heat_id,
            reference_key=heat.reference,
            reference=labels[heat.reference],
            candidates=tuple(labels.values()),
            threads=tuple(each.job.runtime.threads for each in self.ready),
            repeats=sum(
                part.name == job.key for each in heat.repeats if each.number in counted for part in each.parts
            ),
            is_resident=all(repeat.is_resident for repeat in heat.repeats),
            stopped=heat.stopped,
            unmet=tuple(each for each in heat.unmet if each.participant == job.key),
            wall_s=self.wall_s,
            calibration_ns=tuple(
                float(np.median(one.calibration_ns)) for one in started if one.calibration_ns
            ),
            core_to_core_ns=tuple(
                float(ns) for each in heat.repeats for _, ns in sorted(each.core_to_core_by_round_ns.items())
            ),
        )


def _keep_results(
    project: Project, described: _Described, outcomes: JobOutcomes, dropped: Mapping[str, str]
) -> None:
    """Keep the measurement or the failed attempt of each job that was to be measured.

    Args:
        project: Project of the jobs.
        described: Heat that has ended.
        outcomes: Gets each attempt.
        dropped: Reason for each job that a race measured no further, by key.
    """
    found = _assemble_all(project, described)
    for ready in described.ready:
        outcome = found.get(ready.job.key)
        if isinstance(outcome, _Failed):
            outcomes.fail(project, ready.planned, outcome.why, outcome.readings)
        elif outcome is not None:
            why = dropped.get(ready.job.key)
            is_early = why is not None and ready.job.key != described.heat.reference
            flags = (*outcome.flags, STOPPED_EARLY.raised(why)) if is_early and why else outcome.flags
            outcomes.keep(project, outcome.replace(flags=flags))


class _Failed(NamedTuple):
    """Failure of a job, with the readings from before it."""

    why: WorkerError
    readings: tuple[Reading, ...]


def _assemble_all(project: Project, described: _Described) -> dict[str, Measurement | _Failed]:
    """Assemble the outcome of each job that is to be measured, by key, from the repeats so far."""
    heat = described.heat
    calls = assemble_calls(heat, find_left_out(heat.repeats), _quantity_of(described.ready[0].job))
    found: dict[str, Measurement | _Failed] = {}
    for ready in described.ready:
        key = ready.job.key
        if ready.planned.action != "measure":
            continue
        if key in heat.failures:
            why = WorkerError(heat.failures[key].reason, detail=heat.failures[key].detail)
            found[key] = _Failed(why, _read_whole(ready.job, heat, calls))
        else:
            found[key] = _assemble(project, ready, described, calls)
    return found


def _choose_probe(project: Project, ready: Sequence[PreparedJob]) -> Callable[[], int | None]:
    """Choose how core-to-core latency is read: only if a candidate has a thread for every CPU.

    A thread that stays on one CPU passes no data on. With more CPUs than threads the used ones are unknown.
    """
    cpus = project.settings.benchmark.cpus
    usable = detect_hardware(cpus).usable_cpus
    if all((each.job.runtime.threads or usable) < usable for each in ready):
        return lambda: None
    return make_core_to_core_probe(cpus)


def _count_tokens(project: Project, reference: PreparedJob) -> tuple[int, ...] | None:
    """Count the tokens of each document for the reference; they show the work better than words do."""
    job = reference.job
    try:
        documents = documents_for(project, job.scenario)
        encoder = job.task.make_encoder(open_checkpoint(reference.checkpoint), job.max_length, documents)
        return tuple(len(encoder.encode(document).ids) for document in documents)
    except Exception:  # noqa: BLE001 - its worker will report the fault; until then words serve the others
        return None


def _assemble(
    project: Project, ready: PreparedJob, described: _Described, calls: Mapping[str, Sequence[Calls]]
) -> Measurement:
    job, heat = ready.job, described.heat
    environments = [seen[job.key] for seen in described.environments if job.key in seen]
    facts = described.facts_for(job)
    parts = [part for each in heat.repeats for part in each.parts if part.name == job.key]
    first = parts[0]
    model_size = _read_model_size(ready)
    readings = (*assemble_readings(heat, job.key, _quantity_of(job), calls), model_size)
    flags = judge_measurement(
        job,
        readings,
        environments[0],
        heat=facts,
        n_truncated=first.started.n_truncated,
        token_limit=ready.token_limit,
        accepts_contention=project.settings.benchmark.accept_contended,
    )
    return Measurement(
        job=job,
        attempt=ready.planned.attempt,
        measured_at=now_text(),
        environment=add_load_after(environments[0], parts[-1].finished.system),
        heat=facts,
        runtime_facts=first.started.facts,
        readings=readings,
        flags=(*flags, *flag_mixed(environments), *_recompiled(parts)),
        wall_s=facts.wall_s,
        timed_s=sum(_timed_ns(row) for row in readings if row.quantity in (LATENCY, PASS)) / NS_PER_S,
    )


def _read_whole(job: Job, heat: Heat, calls: Mapping[str, Sequence[Calls]]) -> tuple[Reading, ...]:
    """Return the readings of the complete processes of a job that failed later; empty without any."""
    return assemble_readings(heat, job.key, _quantity_of(job), calls) if job.key in calls else ()


def _timed_ns(reading: Reading) -> float:
    calls = reading.columns["calls_per_sample"]
    return sum(value * count for value, count in zip(reading.values, calls, strict=True))


def _recompiled(parts: Sequence[Part]) -> tuple[Flag, ...]:
    """Flag a runtime that compiled between the warm-up and the end."""
    late = [part for part in parts if _graphs(part.started.facts) != _graphs(part.finished.facts)]
    if not late:
        return ()
    detail = f"calls had to compile after the warm-up in {len(late)} of {len(parts)} processes"
    return (RECOMPILED.raised(detail),)


def _graphs(facts: Mapping[str, str]) -> str:
    return facts.get("compiled_graphs", "")


def _read_model_size(ready: PreparedJob) -> Reading:
    runtime = ready.job.runtime
    size_bytes = (
        open_row_model(ready.checkpoint).size_bytes
        if isinstance(runtime, RowBackend)
        else runtime.model_size_bytes(ready.prepared, open_checkpoint(ready.checkpoint))
    )
    return Reading(quantity=MODEL_SIZE, unit="bytes", values=(float(size_bytes),), repeats=(0,))


def _quantity_of(job: Job) -> str:
    """Return the quantity that the calls of a job stand for."""
    if not isinstance(job.scenario, Interleaved):
        raise TypeError(f"{job.scenario.kind} is not measured in heats")
    return job.scenario.quantity


def _timed(job: Job) -> TimedJob:
    if not isinstance(job, TimedJob):
        raise TypeError(f"{job.label} is not timed")
    return job
