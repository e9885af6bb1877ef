"""Heats: candidates measured together; each repeat is on disk before the next begins."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil
from pydantic import ValidationError

from bakeoff.core.plan.jobs import Plan, PlannedJob
from bakeoff.core.records import Champion, Environment, Flag, HeatFacts, Job, Measurement
from bakeoff.core.validity.flags import RECOMPILED
from bakeoff.core.validity.judge import judge_measurement
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.errors import BakeoffError, WorkerError
from bakeoff.measure.heats.assemble import (
    Calls,
    assemble_calls,
    assemble_readings,
    find_counted,
    find_left_out,
)
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.records import Heat, Part, Repeat
from bakeoff.measure.heats.run import run_heat
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.scenarios import Interleaved
from bakeoff.measure.statistics.readings import LATENCY, MODEL_SIZE, NS_PER_S, PASS, Reading
from bakeoff.measure.system.core_to_core import make_core_to_core_probe
from bakeoff.orchestrator.bench.claims import Share
from bakeoff.orchestrator.bench.prepare import EndsOneJob, Work, find_work, flag_mixed, make_order, now_text
from bakeoff.orchestrator.bench.untimed import prepare_together
from bakeoff.orchestrator.plan import documents_for
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.run.machine.cgroups import read_memory_left_bytes
from bakeoff.run.machine.hardware import add_load_after, default_threads, detect_hardware
from bakeoff.run.measuring.resident import ResidentWorker

# Of the free memory; beyond it the candidates of a heat are not held together.
MEMORY_SHARE = 0.6


class KeptRepeat(Record):
    """One repeat of a heat on disk: an interrupted heat goes on after it."""

    repeat: Repeat
    environments: Mapping[str, Environment]


def group_heats(plan: Plan) -> list[list[PlannedJob]]:
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


def measure_heat(
    project: Project,
    group: Sequence[PlannedJob],
    by_run: Mapping[str, Champion],
    share: Share,
    advance: Advance,
) -> None:
    """Measure a group together; candidates that cannot be made ready are out, the others go on."""
    found: list[Work] = []
    lost: list[tuple[PlannedJob, BakeoffError]] = []
    for planned in group:
        try:
            with share.beating():
                found.append(find_work(project, planned, by_run[planned.job.champion_run_id]))
        except EndsOneJob as error:
            lost.append((planned, error))
    broken = prepare_together(project, found, share)
    lost += [(work.planned, broken[work.prepared]) for work in found if work.prepared in broken]
    for planned, why in lost:
        if planned.action == "measure":
            share.outcomes.fail(project, planned, why)
        else:
            project.progress.say(f"{planned.job.candidate} cannot be the reference: {why}")
    works = [work for work in found if work.prepared not in broken]
    if not any(work.planned.action == "measure" for work in works):
        return
    begin_s = time.monotonic()
    heat_id = digest_json([[work.job.key, work.planned.attempt] for work in works])
    folder = project.results.heat_folder(heat_id)
    heat, environments = _run_heat(project, works, folder, advance, share.beat)
    wall_s = time.monotonic() - begin_s
    calls = assemble_calls(heat, find_left_out(heat.repeats), _quantity_of(works[0].job))
    for work in works:
        if work.planned.action != "measure":
            continue
        if work.job.key in heat.failures:
            failure = heat.failures[work.job.key]
            why = WorkerError(failure.reason, detail=failure.detail)
            share.outcomes.fail(project, work.planned, why, _read_whole(work.job, heat, calls))
        else:
            mine = [seen[work.job.key] for seen in environments if work.job.key in seen]
            facts = _describe_heat(heat, heat_id, works, work.job, wall_s)
            share.outcomes.keep(project, _assemble(project, work, heat, facts, mine, calls=calls))
    shutil.rmtree(folder, ignore_errors=True)


def _run_heat(
    project: Project, works: Sequence[Work], folder: Path, advance: Advance, beat: Callable[[], None]
) -> tuple[Heat, list[Mapping[str, Environment]]]:
    """Run the repeats that are missing; each is on disk before the next begins."""
    lengths = _count_tokens(project, works[0])
    participants = {
        work.job.key: ResidentWorker(
            work.job.key,
            make_order(project, work, 0, lengths),
            folder / work.job.key_digest,
            project.settings.benchmark.timeout_s,
            on_wait=beat,
        )
        for work in works
    }
    protocol = protocol_of(works[0].job)
    kept = _load_repeats(folder)
    environments = [each.environments for each in kept]

    def keep(repeat: Repeat) -> None:
        seen = {
            name: participant.environments[repeat.number]
            for name, participant in participants.items()
            if repeat.number in participant.environments
        }
        environments.append(seen)
        path = _repeat_path(folder, repeat.number)
        document = KeptRepeat(repeat=repeat, environments=seen)
        durable.write_bytes(path, document.model_dump_json().encode())
        n_dirty = sum(repeat.rounds.values())
        remark = f", {n_dirty} rounds disturbed" if n_dirty else ""
        advance(f"{len(works)} candidates, repeat {repeat.number + 1}{remark}")

    heat = run_heat(
        list(participants.values()),
        protocol,
        now_s=time.monotonic,
        memory_budget_bytes=MEMORY_SHARE * min(psutil.virtual_memory().available, read_memory_left_bytes()),
        earlier=[each.repeat for each in kept],
        keep=keep,
        pause=beat,
        probe=_choose_probe(project, works),
        quantity=_quantity_of(works[0].job),
        # Importing keeps one thread busy; on a core of its own it takes as long as alone.
        n_importing=default_threads(detect_hardware(project.settings.benchmark.cpus)),
    )
    return heat, environments


def _choose_probe(project: Project, works: Sequence[Work]) -> Callable[[], int | None]:
    """core-to-core latencies are read where a candidate has a thread for every CPU.

    What stays on one CPU hands nothing over, and of more CPUs than threads nobody knows which are used.
    """
    cpus = project.settings.benchmark.cpus
    usable = detect_hardware(cpus).usable_cpus
    if all((work.job.runtime.threads or usable) < usable for work in works):
        return lambda: None
    return make_core_to_core_probe(cpus)


def _count_tokens(project: Project, reference: Work) -> tuple[int, ...] | None:
    """Tokens of each document as the reference sees it, which tell the work better than words do."""
    job = reference.job
    try:
        encoder = Encoder(open_checkpoint(reference.checkpoint), job.max_length)
        documents = documents_for(project, job.scenario)
        return tuple(len(encoder.encode(document.tokens).ids) for document in documents)
    except Exception:  # noqa: BLE001 - its worker will say what is wrong; until then words do for the others
        return None


def _load_repeats(folder: Path) -> list[KeptRepeat]:
    found: list[KeptRepeat] = []
    while (path := _repeat_path(folder, len(found))).is_file():
        try:
            found.append(KeptRepeat.model_validate_json(path.read_bytes()))
        except ValidationError:
            break  # of another version: measured again from here
    return found


def _repeat_path(folder: Path, number: int) -> Path:
    return folder / f"repeat-{number:03d}.json"


def _assemble(
    project: Project,
    work: Work,
    heat: Heat,
    facts: HeatFacts,
    environments: Sequence[Environment],
    *,
    calls: Mapping[str, Sequence[Calls]],
) -> Measurement:
    job = work.job
    parts = [part for each in heat.repeats for part in each.parts if part.name == job.key]
    first = parts[0]
    checkpoint = open_checkpoint(work.checkpoint)
    model_size = _read_model_size(work, checkpoint)
    readings = (*assemble_readings(heat, job.key, _quantity_of(job), calls), model_size)
    flags = judge_measurement(
        job,
        readings,
        environments[0],
        heat=facts,
        n_truncated=first.started.n_truncated,
        token_limit=checkpoint.token_limit(job.max_length),
        accepts_contention=project.settings.benchmark.accept_contended,
    )
    return Measurement(
        job=job,
        attempt=work.planned.attempt,
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
    """What the processes of a job read that were whole before one failed; empty where none was."""
    return assemble_readings(heat, job.key, _quantity_of(job), calls) if job.key in calls else ()


def _describe_heat(heat: Heat, heat_id: str, works: Sequence[Work], job: Job, wall_s: float) -> HeatFacts:
    labels = {work.job.key: work.job.candidate for work in works}
    counted = {repeat for repeat, _ in find_counted(find_left_out(heat.repeats))}
    return HeatFacts(
        heat_id=heat_id,
        reference_key=heat.reference,
        reference=labels[heat.reference],
        candidates=tuple(labels.values()),
        threads=tuple(work.job.runtime.threads for work in works),
        repeats=sum(
            part.name == job.key for each in heat.repeats if each.number in counted for part in each.parts
        ),
        is_resident=all(repeat.is_resident for repeat in heat.repeats),
        stopped=heat.stopped,
        unmet=tuple(each for each in heat.unmet if each.participant == job.key),
        wall_s=wall_s,
        calibration_ns=tuple(
            float(np.median(started.calibration_ns))
            for started in sorted(
                (part.started for each in heat.repeats for part in each.parts),
                key=lambda started: started.at_ns,
            )
            if started.calibration_ns
        ),
        core_to_core_ns=tuple(
            float(ns) for each in heat.repeats for _, ns in sorted(each.core_to_core_by_round_ns.items())
        ),
    )


def _timed_ns(reading: Reading) -> float:
    calls = reading.columns["calls_per_sample"]
    return sum(value * count for value, count in zip(reading.values, calls, strict=True))


def _recompiled(parts: Sequence[Part]) -> tuple[Flag, ...]:
    """Whether a compiler was still at work between the warm-up and the end."""
    late = [part for part in parts if _graphs(part.started.facts) != _graphs(part.finished.facts)]
    if not late:
        return ()
    detail = f"calls had to compile after the warm-up in {len(late)} of {len(parts)} processes"
    return (RECOMPILED.raised(detail),)


def _graphs(facts: Mapping[str, str]) -> str:
    return facts.get("compiled_graphs", "")


def _read_model_size(work: Work, checkpoint: Checkpoint) -> Reading:
    size_bytes = work.job.runtime.model_size_bytes(work.prepared, checkpoint)
    return Reading(quantity=MODEL_SIZE, unit="bytes", values=(float(size_bytes),), repeats=(0,))


def _quantity_of(job: Job) -> str:
    """What the calls of a job stand for."""
    if not isinstance(job.scenario, Interleaved):
        raise TypeError(f"{job.scenario.kind} is not measured in heats")
    return job.scenario.quantity


def protocol_of(job: Job) -> TimingProtocol:
    """The protocol of a timed job."""
    if job.protocol is None:
        raise ValueError(f"{job.label} is not timed")
    return job.protocol
