"""Bench: plan, claim, acquire, measure in fresh processes, keep on disk, log once.

The order keeps the promises: a result is durable on disk before the tracking store gets it. After a crash or
an outage bakeoff uploads again, and never measures again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bakeoff.core.job import Job
from bakeoff.core.plan.existing import ExistingBenchmark, count_failed_or_invalid, valid_attempts
from bakeoff.core.plan.jobs import Plan, PlannedJob
from bakeoff.core.records import AnyModel, Champion, FailedAttempt, Measurement
from bakeoff.core.selection.given_champions import GivenChampions, parse_champions
from bakeoff.core.validity.flags import CONTENDED
from bakeoff.core.validity.noise import is_only_contended
from bakeoff.errors import BakeoffError, NothingMeasuredError
from bakeoff.measure.heats.protocol import INTERVALS, Until
from bakeoff.orchestrator.bench.claims import BenchClaims
from bakeoff.orchestrator.bench.execute import measure_here
from bakeoff.orchestrator.bench.executors import reaching_nodes
from bakeoff.orchestrator.bench.schedule import measure_on_nodes
from bakeoff.orchestrator.bench.upload import describe_run, is_waiting, send_waiting
from bakeoff.orchestrator.checkpoints import (
    acquire_for,
    find_models,
    identify_checkpoints,
    keep_fitting,
)
from bakeoff.orchestrator.labels import check_labels
from bakeoff.orchestrator.plan import choose_until, find_existing, plan_against
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project, waiting_to_measure
from bakeoff.record import Record
from bakeoff.run.machine.forks import keeping_servers


class BenchResult(Record):
    """Outcome of each job.

    Attributes:
        result_files: ``benchmark.json`` of each backbone with a measurement.
        unlogged: Measurements that are safe on disk and not yet in the tracking store.
        wall_s: Wall time of the whole bench.
    """

    plan: Plan
    measured: tuple[Measurement, ...]
    failed: tuple[FailedAttempt, ...]
    result_files: dict[str, Path]
    unlogged: int
    wall_s: float

    @property
    def contended(self) -> tuple[Job, ...]:
        """Jobs that are not done only because the machine was busy, now or in all their attempts."""
        measured = [each.job for each in self.measured if is_only_contended(each)]
        return (*measured, *(each.job for each in self.plan.left if each.last_reason == CONTENDED.name))


def bench(project: Project, until: Until = INTERVALS) -> BenchResult:
    """Measure the missing jobs of every champion and named model, log them, and write the result files.

    Args:
        project: Project of the models.
        until: What ends a heat, if the settings do not say it: ``decided`` skips or drops candidates that
            cannot win; ``intervals`` measures all of them to their targets.

    Raises:
        NoChampionError: No backbone has a champion.
        TrackingError: The store does not answer.
        UnknownLabelsError: A champion cannot predict a label of the test documents; nothing was measured.
    """
    champions = keep_fitting(project, find_models(project))
    check_labels(project, champions)
    with waiting_to_measure(project), reaching_nodes(project), keeping_servers():
        if not project.is_offline:
            project.ensure_benchmark_experiment()  # a store that refuses is better known before measuring
        existing = send_waiting(project, champions, find_existing(project, champions))
        made = plan_against(project, champions, existing, choose_until(project, until))
        return _carry_out(project, made, existing, BenchClaims(project))


def benchmark_champions(champions: GivenChampions, project: Project) -> dict[str, Path]:
    """Measure champions that carry their own ids, digests and checkpoints.

    Nothing is looked up for them before the measurement: only the disk is asked what exists, and no claim is
    read. Two machines may measure the same job then; publication decides which result counts. Use ``bench``
    to ask the store what exists, and to share the work.

    Args:
        champions: Champions in any shape that ``parse_champions`` reads. A checkpoint without
            ``checkpoint_path`` is acquired first. A champion without checkpoint is reported and skipped.
        project: Names runtimes, scenarios and stores.

    Returns:
        The result file of each backbone with a measurement. A warning names each other backbone, and why.

    Raises:
        ChampionError: A champion is incomplete, or contradicts itself; nothing was measured.
        ConfigError: A runtime asks for more threads than this process may use.
        DataError: The test file is missing or broken.
        NothingMeasuredError: Every champion failed; it names the reason of each.
    """
    parsed = parse_champions(champions, warn)
    with waiting_to_measure(project), reaching_nodes(project), keeping_servers():
        skipped = dict[str, str]()

        def skip(champion: AnyModel, error: BakeoffError) -> None:
            skipped[champion.backbone] = f"skipped, since it has no checkpoint: {error}"

        identified = identify_checkpoints(parsed, project, skip)
        on_disk = project.results.list_existing(champion.run_id for champion in identified)
        able = acquire_for(plan_against(project, identified, on_disk), project, skip)
        result = _carry_out(project, able, on_disk, BenchClaims(project, is_asking=False))
    missing = [champion for champion in parsed if champion.backbone not in result.result_files]
    reasons = [f"{each.backbone}: {_explain_missing(each, result, skipped)}" for each in missing]
    for reason in reasons:
        warn(reason)
    is_at_rest = not skipped and all(each.is_at_rest for each in result.plan.jobs)
    if reasons and not result.result_files and not is_at_rest:
        raise NothingMeasuredError(reasons)
    return result.result_files


def _explain_missing(champion: Champion, result: BenchResult, skipped: Mapping[str, str]) -> str:
    """Explain why a champion has no result file."""
    if champion.backbone in skipped:
        return skipped[champion.backbone]
    mine = {planned.job.key for planned in result.plan.jobs if planned.model.run_id == champion.run_id}
    reasons = [f"{each.job.label}: {each.reason}" for each in result.failed if each.job.key in mine]
    reasons += [f"{each.job.label}: {each.validity}" for each in result.measured if each.job.key in mine]
    reasons += [f"{each.job.label}: {each.reason}" for each in result.plan.left if each.job.key in mine]
    return f"no result: {'; '.join(reasons) or 'another command measures its jobs'}"


def _carry_out(
    project: Project, plan: Plan, existing: Sequence[ExistingBenchmark], claims: BenchClaims
) -> BenchResult:
    """Measure what no other machine measures, wait for the others, and take over from dead ones."""
    begin_s = time.monotonic()
    for planned in plan.jobs:
        project.progress.say(f"{planned.job.label}: {planned.action}: {planned.reason}")
    measure = measure_here if project.cluster is None else measure_on_nodes
    final, todo = {planned.job.key: planned for planned in plan.jobs}, plan
    with claims.held():
        while todo.todo:
            measure(project, todo, claims, count_failed_or_invalid(existing))
            if not claims.deferred:
                break
            claims.wait()
            deferred = {planned.job.key for planned in claims.deferred.values()}
            existing = find_existing(project, plan.models)
            todo = claims.plan_again(todo, existing)
            final.update({planned.job.key: planned for planned in todo.jobs if planned.job.key in deferred})
        unsent = claims.finish()
    unneeded = claims.outcomes.unneeded
    done = Plan(
        jobs=tuple(
            planned.replace(action="leave", reason=unneeded[key]) if key in unneeded else planned
            for key, planned in final.items()
        )
    )
    _fetch_missing(project, done)
    outcomes = claims.outcomes
    measured = [attempt for attempt in outcomes.kept if isinstance(attempt, Measurement)]
    keys = {attempt.job.key for attempt in measured}
    failed = [each for each in outcomes.kept if isinstance(each, FailedAttempt) and each.job.key not in keys]
    waiting = {(each.key, each.attempt) for each in existing if is_waiting(each)}
    return BenchResult(
        plan=done,
        measured=tuple(measured),
        failed=(*failed, *outcomes.unready),
        result_files=_write_results(project, done, measured, existing),
        unlogged=len(waiting | {(attempt.job.key, attempt.attempt) for attempt in unsent}),
        wall_s=time.monotonic() - begin_s,
    )


def _write_results(
    project: Project, plan: Plan, measured: Sequence[Measurement], existing: Sequence[ExistingBenchmark]
) -> dict[str, Path]:
    """Write ``benchmark.json`` of each model with a measurement that counts."""
    fresh = {measurement.job.key: {measurement.attempt} for measurement in measured}
    files = {}
    for model in plan.models:
        jobs = [planned.job for planned in plan.jobs if planned.model.run_id == model.run_id]
        counting = [(job, valid_attempts(existing, job.key) | fresh.get(job.key, set())) for job in jobs]
        found = [project.results.load_valid(job, among) for job, among in counting]
        mine = [measurement for measurement in found if measurement is not None]
        if mine:
            files[model.backbone] = project.results.write_champion(mine)
    return files


def _fetch_missing(project: Project, plan: Plan) -> None:
    """Fetch the readings of reused measurements that another machine or folder made."""
    for planned in plan.reused:
        if planned.run_id is not None and planned.has_readings and not _is_here(project, planned):
            logged = describe_run(project, project.ensure_benchmark_experiment(), planned.run_id)
            with project.results.receiving() as folder:
                found = project.tracker.download(planned.run_id, "benchmark", folder)
                project.results.adopt(planned.job, planned.attempt, found, logged)


def _is_here(project: Project, planned: PlannedJob) -> bool:
    """Return whether the disk holds this measurement, and not another machine's attempt of that number."""
    if project.results.load_valid(planned.job, {planned.attempt}) is None:
        return False
    mark = project.results.find_logged(planned.job.key, planned.attempt)
    return mark is None or mark.run_id == planned.run_id
