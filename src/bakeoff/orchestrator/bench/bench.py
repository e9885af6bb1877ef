"""Bench: plan, claim, acquire, measure in fresh processes, keep on disk, log once.

The order is what keeps promises: a result is durable on disk before the tracking store hears of it, so that a
crash or an outage after measuring costs an upload and never a second measurement.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from bakeoff.core.plan.existing import ExistingBenchmark, count_failed_or_invalid, valid_attempts
from bakeoff.core.plan.jobs import Plan, PlannedJob
from bakeoff.core.records import Champion, FailedAttempt, Job, Measurement
from bakeoff.core.selection.parse_champions import GivenChampions, parse_champions
from bakeoff.core.validity.flags import CONTENDED
from bakeoff.core.validity.noise import is_only_contended
from bakeoff.disk import durable
from bakeoff.orchestrator.bench.claims import Share
from bakeoff.orchestrator.bench.executors import reaching_nodes
from bakeoff.orchestrator.bench.schedule import measure_all
from bakeoff.orchestrator.bench.upload import describe_run, is_waiting, send_waiting
from bakeoff.orchestrator.checkpoints import acquire_for, find_champions, identify_checkpoints
from bakeoff.orchestrator.plan import find_existing, plan_against
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record


class BenchResult(Record):
    """What became of each job.

    Attributes:
        result_files: ``benchmark.json`` of each backbone whose champion has a measurement.
        unlogged: Measured and safe on disk, but not yet in the tracking store.
    """

    plan: Plan
    measured: tuple[Measurement, ...]
    failed: tuple[FailedAttempt, ...]
    result_files: dict[str, Path]
    unlogged: int
    wall_s: float

    @property
    def contended(self) -> tuple[Job, ...]:
        """Jobs that a busy machine alone keeps from being done: measured now, or their attempts used up."""
        measured = [each.job for each in self.measured if is_only_contended(each)]
        return (*measured, *(each.job for each in self.plan.left if each.last_reason == CONTENDED.name))


def bench(project: Project) -> BenchResult:
    """Measure what is missing for every champion, log it, and write the result files.

    Raises:
        NoChampionError: No backbone has a champion.
        TrackingError: The store cannot say what exists.
    """
    champions = find_champions(project)
    with _measuring(project), reaching_nodes(project):
        if not project.is_offline:
            # What would keep results from being logged is better told before they are measured.
            project.tracker.ensure_experiment(project.settings.tracking.benchmark_experiment)
        existing = send_waiting(project, champions, find_existing(project, champions))
        return _carry_out(project, champions, plan_against(project, champions, existing), existing)


def benchmark_champions(champions: GivenChampions, project: Project) -> dict[str, Path]:
    """Measure champions that carry their own ids, digests and checkpoints.

    Nothing is looked up for them: the disk alone says what exists, and the tracking store is only written
    to. Use ``bench`` or ``plan`` to ask the store what exists.

    Args:
        champions: In any shape that ``parse_champions`` reads. The checkpoint of one without
            ``checkpoint_path`` is acquired first; one whose checkpoint cannot be had is reported and skipped.
        project: Names runtimes, scenarios and stores.

    Returns:
        The result file of each backbone that has a measurement.

    Raises:
        ChampionError: A champion lacks something, or contradicts itself; nothing was measured.
        ConfigError: A runtime asks for more threads than this process may use.
        DataError: The test file is missing or broken.
    """
    parsed = parse_champions(champions, project.progress.say)
    with _measuring(project), reaching_nodes(project):
        identified = identify_checkpoints(parsed, project)
        on_disk = project.results.list_existing(champion.run_id for champion in identified)
        todo = plan_against(project, identified, on_disk)
        able, ready = acquire_for(todo, identified, project)
        return _carry_out(project, ready, able, on_disk).result_files


def _measuring(project: Project) -> AbstractContextManager[None]:
    return durable.exclusive(
        project.results.lock_path,
        lambda: warn("another process measures in this project; waiting for it"),
    )


def _carry_out(
    project: Project, champions: Sequence[Champion], todo: Plan, existing: Sequence[ExistingBenchmark]
) -> BenchResult:
    begin = time.monotonic()
    for planned in todo.jobs:
        project.progress.say(f"{planned.job.label}: {planned.action}: {planned.reason}")
    share = Share(project)
    outcomes = share.outcomes
    with share.held():
        todo, existing = _measure_or_wait(project, champions, todo, existing, share)
        unsent = share.finish()
    measured = [attempt for attempt in outcomes.kept if isinstance(attempt, Measurement)]
    done = {attempt.job.key for attempt in measured}
    failed = [
        attempt
        for attempt in outcomes.kept
        if isinstance(attempt, FailedAttempt) and attempt.job.key not in done
    ]
    _fetch_missing(project, todo)
    fresh = {measurement.job.key: {measurement.attempt} for measurement in measured}
    files = {}
    for champion in champions:
        jobs = [planned.job for planned in todo.jobs if planned.job.champion_run_id == champion.run_id]
        counting = [(job, valid_attempts(existing, job.key) | fresh.get(job.key, set())) for job in jobs]
        found = [project.results.load_valid(job, among) for job, among in counting]
        mine = [measurement for measurement in found if measurement is not None]
        if mine:
            files[champion.backbone] = project.results.write_champion(mine)
    waiting = {(each.key, each.attempt) for each in existing if is_waiting(each)}
    return BenchResult(
        plan=todo,
        measured=tuple(measured),
        failed=(*failed, *outcomes.unready),
        result_files=files,
        unlogged=len(waiting | {(attempt.job.key, attempt.attempt) for attempt in unsent}),
        wall_s=time.monotonic() - begin,
    )


def _measure_or_wait(
    project: Project,
    champions: Sequence[Champion],
    plan: Plan,
    existing: Sequence[ExistingBenchmark],
    share: Share,
) -> tuple[Plan, Sequence[ExistingBenchmark]]:
    """Measure what no other machine does, then wait for the others and take over from the dead.

    Returns:
        The plan, in which what others measured meanwhile is reused, and what exists by now.
    """
    told, todo = {planned.job.key: planned for planned in plan.jobs}, plan
    while todo.todo:
        measure_all(project, champions, todo, share, count_failed_or_invalid(existing))
        if not share.deferred:
            break
        share.wait()
        deferred = {planned.job.key for planned in share.deferred.values()}
        existing = find_existing(project, champions)
        todo = share.plan_again(todo, existing)
        told.update({planned.job.key: planned for planned in todo.jobs if planned.job.key in deferred})
    return Plan(jobs=tuple(told.values())), existing


def _fetch_missing(project: Project, todo: Plan) -> None:
    """Fetch the readings of reused measurements that another machine or folder made."""
    for planned in todo.reused:
        if planned.run_id is not None and planned.has_readings and not _is_here(project, planned):
            experiment_id = project.tracker.ensure_experiment(project.settings.tracking.benchmark_experiment)
            logged = describe_run(project, experiment_id, planned.run_id)
            with project.results.receiving() as folder:
                found = project.tracker.download(planned.run_id, "benchmark", folder)
                project.results.adopt(planned.job, planned.attempt, found, logged)


def _is_here(project: Project, planned: PlannedJob) -> bool:
    """Whether the disk holds what is reused; an attempt of the same number may be another machine's."""
    if project.results.load_valid(planned.job, {planned.attempt}) is None:
        return False
    mark = project.results.find_logged(planned.job.key, planned.attempt)
    return mark is None or mark.run_id == planned.run_id
