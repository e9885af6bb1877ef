"""Carry out planned jobs: alone in fresh processes, or together in heats. Every result is kept at once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
from pydantic import ValidationError

from bakeoff import durable
from bakeoff.core.plan import Plan, PlannedJob
from bakeoff.core.records import Champion, Environment, FailedAttempt, Flag, HeatFacts, Job, Measurement
from bakeoff.core.validity import judge_measurement
from bakeoff.digest import digest_json
from bakeoff.errors import BakeoffError, UserError, WorkerError
from bakeoff.folders import find_whole
from bakeoff.measure.assembly import assemble_readings
from bakeoff.measure.checkpoint import open_checkpoint
from bakeoff.measure.heat import Generation, Heat, Part
from bakeoff.measure.protocol import TimingProtocol, run_heat
from bakeoff.measure.readings import LATENCY, MODEL_SIZE, NS_PER_S, PASS, Reading, merge_generations
from bakeoff.measure.scenarios import Interleaved
from bakeoff.orchestrator.inputs import documents_for
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.run.isolation import Done, MeasureOrder, PrepareOrder, run_in_fresh_process
from bakeoff.run.resident import ResidentWorker

N_CHECK_TEXTS = 64
# Of the free memory; beyond it the candidates of a heat are not held together.
MEMORY_SHARE = 0.6

Attempt = Measurement | FailedAttempt


@dataclass(frozen=True)
class Work:
    """A planned job whose checkpoint is here and whose runtime is prepared."""

    planned: PlannedJob
    checkpoint: Path
    prepared: Path | None

    @property
    def job(self) -> Job:
        """The job."""
        return self.planned.job


class KeptGeneration(Record):
    """One generation of a heat on disk: an interrupted heat goes on after it."""

    generation: Generation
    environments: Mapping[str, Environment]


def measure_all(project: Project, champions: Sequence[Champion], plan: Plan) -> list[Attempt]:
    """Measure what a plan says; every attempt, good or failed, is on disk when this returns.

    Args:
        project: Whose stores are used.
        champions: Whose checkpoints are measured.
        plan: All jobs; one that is reused may be run beside new ones as their reference.
    """
    todo = plan.todo
    if not todo:
        return []
    by_run = {champion.run_id: champion for champion in champions}
    heats = _group_heats(plan)
    alone = [planned for planned in todo if not isinstance(planned.job.scenario, Interleaved)]
    n_steps = sum(_n_generations(planned.job) for planned in alone) + sum(
        _protocol_of(group[0].job).min_generations for group in heats
    )
    with project.progress.track("bench", n_steps) as advance:
        attempts: list[Attempt] = [
            _measure_alone(project, planned, by_run[planned.job.champion_run_id], advance)
            for planned in alone
        ]
        for group in heats:
            attempts += _measure_heat(project, group, by_run, advance)
    return attempts


def _group_heats(plan: Plan) -> list[list[PlannedJob]]:
    """Jobs that can be interleaved, the reference first; groups in which nothing is to be measured are out.

    The reference is the first candidate of the plan, measured or not: run beside the new ones again it joins
    them to all that were ever compared to it.
    """
    groups: dict[str, list[PlannedJob]] = {}
    for planned in plan.jobs:
        job = planned.job
        if isinstance(job.scenario, Interleaved):
            alike = {"scenario": job.benchmark_config["scenario"], "inputs": job.inputs_digest}
            groups.setdefault(
                digest_json({**alike, "protocol": job.benchmark_config["protocol"]}), []
            ).append(planned)
    heats = []
    for group in groups.values():
        measured = [planned for planned in group if planned.action == "measure"]
        if not measured:
            continue
        reference = next(planned for planned in group if planned.action != "leave")
        heats.append([reference, *(planned for planned in measured if planned is not reference)])
    return heats


def _measure_alone(project: Project, planned: PlannedJob, champion: Champion, advance: Advance) -> Attempt:
    """All generations of a job that no other is measured beside; outcomes on disk are not repeated."""
    job, done = planned.job, list[Done]()
    begin_s = time.monotonic()
    try:
        work = make_ready(project, planned, champion)
        for generation in range(_n_generations(job)):
            folder = project.results.work_folder(job, planned.attempt, f"generation-{generation}")
            order = _order(project, work, generation)
            done.append(run_in_fresh_process(order, folder, project.settings.benchmark.timeout_s))
            advance(f"{job.label} {generation + 1}/{_n_generations(job)}")
    except (WorkerError, UserError) as error:
        return _keep_failure(project, planned, error)
    readings = merge_generations([each.readings for each in done])
    flags = judge_measurement(
        job,
        readings,
        done[0].environment,
        n_truncated=done[0].n_truncated,
        run_delay_share=max(each.run_delay_share for each in done),
    )
    measurement = Measurement(
        job=job,
        attempt=planned.attempt,
        measured_at=_now(),
        environment=done[0].environment,
        runtime_facts=done[0].facts,
        readings=readings,
        flags=(*flags, *_mixed([each.environment for each in done])),
        wall_s=time.monotonic() - begin_s,
        timed_s=0.0,
    )
    project.results.store(measurement)
    shutil.rmtree(project.results.work_folder(job, planned.attempt), ignore_errors=True)
    return measurement


def _measure_heat(
    project: Project, group: Sequence[PlannedJob], by_run: Mapping[str, Champion], advance: Advance
) -> list[Attempt]:
    """Measure a group together; candidates that cannot be made ready are out, the others go on."""
    attempts: list[Attempt] = []
    works: list[Work] = []
    for planned in group:
        try:
            works.append(make_ready(project, planned, by_run[planned.job.champion_run_id]))
        except (WorkerError, UserError) as error:
            if planned.action == "measure":
                attempts.append(_keep_failure(project, planned, error))
            else:
                project.progress.say(f"{planned.job.candidate} cannot be the reference: {error}")
    if not any(work.planned.action == "measure" for work in works):
        return attempts
    begin_s = time.monotonic()
    heat_id = digest_json([[work.job.key, work.planned.attempt] for work in works])
    folder = project.results.heat_folder(heat_id)
    heat, environments = _run_heat(project, works, folder, advance)
    wall_s = time.monotonic() - begin_s
    for work in works:
        if work.planned.action != "measure":
            continue
        if work.job.key in heat.failures:
            reason, _, detail = heat.failures[work.job.key].partition(": ")
            attempts.append(_keep_failure(project, work.planned, WorkerError(reason, detail=detail)))
        else:
            mine = [seen[work.job.key] for seen in environments if work.job.key in seen]
            facts = _describe_heat(heat, heat_id, works, work.job, wall_s)
            attempts.append(_keep_measurement(project, work, heat, facts, mine))
    shutil.rmtree(folder, ignore_errors=True)
    return attempts


def _run_heat(
    project: Project, works: Sequence[Work], folder: Path, advance: Advance
) -> tuple[Heat, list[Mapping[str, Environment]]]:
    """Run the generations that are missing; each is on disk before the next begins."""
    participants = {
        work.job.key: ResidentWorker(
            work.job.key,
            _order(project, work, 0),
            folder / work.job.key_digest,
            project.settings.benchmark.timeout_s,
        )
        for work in works
    }
    protocol = _protocol_of(works[0].job)
    kept = _load_generations(folder)
    environments = [each.environments for each in kept]

    def keep(generation: Generation) -> None:
        seen = {
            name: participant.environments[generation.number]
            for name, participant in participants.items()
            if generation.number in participant.environments
        }
        environments.append(seen)
        path = _generation_path(folder, generation.number)
        document = KeptGeneration(generation=generation, environments=seen)
        durable.write_bytes(path, document.model_dump_json().encode())
        n_dirty = sum(generation.rounds.values())
        remark = f", {n_dirty} rounds disturbed" if n_dirty else ""
        advance(f"{len(works)} candidates, generation {generation.number + 1}{remark}")

    heat = run_heat(
        list(participants.values()),
        protocol,
        now_s=time.monotonic,
        memory_budget_bytes=MEMORY_SHARE * psutil.virtual_memory().available,
        earlier=[each.generation for each in kept],
        keep=keep,
    )
    return heat, environments


def _load_generations(folder: Path) -> list[KeptGeneration]:
    found: list[KeptGeneration] = []
    while (path := _generation_path(folder, len(found))).is_file():
        try:
            found.append(KeptGeneration.model_validate_json(path.read_bytes()))
        except ValidationError:
            break  # of another version: measured again from here
    return found


def _generation_path(folder: Path, number: int) -> Path:
    return folder / f"generation-{number:03d}.json"


def _keep_measurement(
    project: Project, work: Work, heat: Heat, facts: HeatFacts, environments: Sequence[Environment]
) -> Measurement:
    job = work.job
    if not isinstance(job.scenario, Interleaved):
        raise TypeError(f"{job.scenario.kind} is not measured in heats")
    parts = [part for each in heat.generations for part in each.parts if part.name == job.key]
    first = parts[0]
    readings = (*assemble_readings(heat, job.key, job.scenario.quantity), _read_model_size(work))
    flags = judge_measurement(
        job,
        readings,
        environments[0],
        heat=facts,
        n_truncated=first.started.n_truncated,
        accepts_contention=project.settings.benchmark.accept_contended,
    )
    measurement = Measurement(
        job=job,
        attempt=work.planned.attempt,
        measured_at=_now(),
        environment=environments[0],
        heat=facts,
        runtime_facts=first.started.facts,
        readings=readings,
        flags=(*flags, *_mixed(environments), *_recompiled(parts)),
        wall_s=facts.wall_s,
        timed_s=sum(_timed_ns(row) for row in readings if row.quantity in (LATENCY, PASS)) / NS_PER_S,
    )
    project.results.store(measurement)
    return measurement


def _describe_heat(heat: Heat, heat_id: str, works: Sequence[Work], job: Job, wall_s: float) -> HeatFacts:
    labels = {work.job.key: work.job.candidate for work in works}
    return HeatFacts(
        heat_id=heat_id,
        reference_key=heat.reference,
        reference=labels[heat.reference],
        candidates=tuple(labels.values()),
        generations=sum(part.name == job.key for each in heat.generations for part in each.parts),
        is_resident=all(generation.is_resident for generation in heat.generations),
        stopped=heat.stopped,
        unmet=tuple(each for each in heat.unmet if each.participant == job.key),
        wall_s=wall_s,
        canary_ns=tuple(
            float(np.median(started.canary_ns))
            for started in sorted(
                (part.started for each in heat.generations for part in each.parts),
                key=lambda started: started.at_ns,
            )
            if started.canary_ns
        ),
    )


def _timed_ns(reading: Reading) -> float:
    calls = reading.columns["calls_per_sample"]
    return sum(value * count for value, count in zip(reading.values, calls, strict=True))


def _mixed(environments: Sequence[Environment]) -> tuple[Flag, ...]:
    if len({environment.digest for environment in environments}) < 2:  # noqa: PLR2004
        return ()
    detail = "its processes saw unlike environments"
    return (Flag(name="mixed_environments", detail=detail, invalidates=True),)


def _recompiled(parts: Sequence[Part]) -> tuple[Flag, ...]:
    """Whether a compiler was still at work between the warm-up and the end."""
    late = [part for part in parts if _graphs(part.started.facts) != _graphs(part.finished.facts)]
    if not late:
        return ()
    detail = f"calls had to compile after the warm-up in {len(late)} of {len(parts)} processes"
    return (Flag(name="recompiled", detail=detail),)


def _graphs(facts: Mapping[str, str]) -> str:
    return facts.get("compiled_graphs", "")


def make_ready(project: Project, planned: PlannedJob, champion: Champion) -> Work:
    """Acquire the checkpoint, and let the backend prepare what it runs, once for each checkpoint.

    Raises:
        UserError: The checkpoint is not there, or not what the refit logged.
        WorkerError: The runtime cannot be prepared, or its outputs are wrong.
    """
    job = planned.job
    checkpoint = project.checkpoints.acquire(champion, project.tracker.download)
    settings = job.runtime.prepare_settings()
    if settings is None:
        return Work(planned, checkpoint, prepared=None)
    prepared = project.checkpoints.prepared_folder(job.checkpoint_digest, settings)
    if find_whole(prepared, rehash=True) is None:
        project.progress.say(f"{job.candidate}: preparing, and comparing the outputs with PyTorch's")
        order = PrepareOrder(
            runtime=job.runtime,
            checkpoint=checkpoint,
            destination=prepared,
            texts=tuple(document.tokens for document in project.corpus.test[:N_CHECK_TEXTS]),
        )
        folder = project.results.work_folder(job, planned.attempt, "prepare")
        run_in_fresh_process(order, folder, project.settings.benchmark.timeout_s)
        shutil.rmtree(folder, ignore_errors=True)
    return Work(planned, checkpoint, prepared)


def _order(project: Project, work: Work, generation: int) -> MeasureOrder:
    return MeasureOrder(
        runtime=work.job.runtime,
        scenario=work.job.scenario,
        protocol=work.job.protocol,
        checkpoint=work.checkpoint,
        prepared=work.prepared,
        documents=documents_for(project, work.job.scenario),
        max_length=work.job.max_length,
        generation=generation,
    )


def _read_model_size(work: Work) -> Reading:
    size_bytes = work.job.runtime.model_size_bytes(work.prepared, open_checkpoint(work.checkpoint))
    return Reading(quantity=MODEL_SIZE, unit="bytes", values=(float(size_bytes),), generations=(0,))


def _keep_failure(project: Project, planned: PlannedJob, error: BakeoffError) -> FailedAttempt:
    project.progress.say(f"{planned.job.label}: failed: {error}")
    attempt = FailedAttempt(
        job=planned.job,
        attempt=planned.attempt,
        failed_at=_now(),
        reason=error.reason if isinstance(error, WorkerError) else str(error),
        detail=error.detail if isinstance(error, WorkerError) else "",
    )
    project.results.store(attempt)
    return attempt


def _protocol_of(job: Job) -> TimingProtocol:
    if job.protocol is None:
        raise ValueError(f"{job.label} is not timed")
    return job.protocol


def _n_generations(job: Job) -> int:
    return job.protocol.min_generations if job.protocol else 1


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
