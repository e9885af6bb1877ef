"""Bench: plan, acquire, measure in fresh processes, keep on disk, log once.

The order is what keeps promises: a result is durable on disk before the tracking store hears of it, so that a
crash or an outage after measuring costs an upload and never a second measurement.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from bakeoff import durable
from bakeoff.core.champions import GivenChampions, parse_champions
from bakeoff.core.existing import ExistingBenchmark, valid_attempts
from bakeoff.core.plan import Plan
from bakeoff.core.records import Champion, FailedAttempt, Measurement
from bakeoff.errors import TrackingError
from bakeoff.orchestrator.acquisition import acquire_for, find_champions, identify_checkpoints
from bakeoff.orchestrator.execution import measure_all
from bakeoff.orchestrator.planning import find_existing, plan_against
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.results import LoggedRun
from bakeoff.stores.tracking import benchmarks
from bakeoff.stores.tracking.benchmarks import Attempt


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


def bench(project: Project) -> BenchResult:
    """Measure what is missing for every champion, log it, and write the result files.

    Raises:
        NoChampionError: No backbone has a champion.
        TrackingError: The store cannot say what exists.
    """
    champions = find_champions(project)
    with _measuring(project):
        if not project.is_offline:
            # What would keep results from being logged is better told before they are measured.
            project.tracker.ensure_experiment(project.settings.tracking.benchmark_experiment)
        existing = _send_waiting(project, find_existing(project, champions))
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
    with _measuring(project):
        identified = identify_checkpoints(parsed, project)
        on_disk = project.results.list_existing(champion.run_id for champion in identified)
        todo = plan_against(project, identified, on_disk)
        able, ready = acquire_for(todo, identified, project)
        return _carry_out(project, ready, able, on_disk).result_files


def _measuring(project: Project) -> AbstractContextManager[None]:
    return durable.exclusive(
        project.results.lock_path,
        lambda: project.progress.say("another process measures in this project; waiting for it"),
    )


def _carry_out(
    project: Project, champions: Sequence[Champion], todo: Plan, existing: Sequence[ExistingBenchmark]
) -> BenchResult:
    begin = time.monotonic()
    for planned in todo.jobs:
        project.progress.say(f"{planned.job.label}: {planned.action}: {planned.reason}")
    outcomes = measure_all(project, champions, todo)
    unlogged = _log_all(project, outcomes.kept)
    measured = [attempt for attempt in outcomes.kept if isinstance(attempt, Measurement)]
    failed = [attempt for attempt in outcomes.kept if isinstance(attempt, FailedAttempt)]
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
    return BenchResult(
        plan=todo,
        measured=tuple(measured),
        failed=(*failed, *outcomes.unready),
        result_files=files,
        unlogged=unlogged + sum(map(_is_waiting, existing)),
        wall_s=time.monotonic() - begin,
    )


def _log_all(project: Project, attempts: Sequence[Attempt]) -> int:
    """Log attempts until the store fails; returns how many are left to the next command."""
    for number, attempt in enumerate(attempts):
        if _log(project, attempt) is None:
            return len(attempts) - number
    return 0


def _log(project: Project, attempt: Attempt, *, may_exist: bool = False) -> str | None:
    """Log one attempt and return its run; an outage leaves it on disk for the next command."""
    if project.is_offline:
        return None
    try:
        experiment_id = project.tracker.ensure_experiment(project.settings.tracking.benchmark_experiment)
        run_id = benchmarks.log_attempt(
            project.tracker,
            experiment_id,
            attempt,
            project.results.attempt_files(attempt),
            may_exist=may_exist,
        )
    except TrackingError as error:
        project.progress.say(f"{attempt.job.label}: measured and safe on disk, but not logged: {error}")
        return None
    project.results.mark_logged(attempt, _logged_run(project, experiment_id, run_id))
    return run_id


def _logged_run(project: Project, experiment_id: str, run_id: str) -> LoggedRun:
    return LoggedRun(store=project.tracker.shown_uri, experiment_id=experiment_id, run_id=run_id)


def _send_waiting(project: Project, existing: Sequence[ExistingBenchmark]) -> list[ExistingBenchmark]:
    """Log what the disk has and the store has not; returns what exists, with the new run ids."""
    sent = list(existing)
    for number, benchmark in enumerate(existing):
        if project.is_offline or not _is_waiting(benchmark) or benchmark.key is None:
            continue
        attempt = project.results.load(benchmark.key, benchmark.attempt)
        run_id = _log(project, attempt, may_exist=True)
        if run_id is None:
            break
        project.progress.say(f"{attempt.job.label}: logged now, measured earlier")
        sent[number] = benchmark.model_copy(update={"run_id": run_id})
    return sent


def _is_waiting(benchmark: ExistingBenchmark) -> bool:
    """Whether the disk has it and the store has not."""
    return benchmark.on_disk and benchmark.run_id is None


def _fetch_missing(project: Project, todo: Plan) -> None:
    """Fetch the readings of reused measurements that another machine or folder made."""
    for planned in todo.reused:
        is_here = project.results.load_valid(planned.job, {planned.attempt}) is not None
        if planned.run_id is not None and planned.has_readings and not is_here:
            experiment_id = project.tracker.ensure_experiment(project.settings.tracking.benchmark_experiment)
            logged = _logged_run(project, experiment_id, planned.run_id)
            with project.results.receiving() as folder:
                found = project.tracker.download(planned.run_id, "benchmark", folder)
                project.results.adopt(planned.job, planned.attempt, found, logged)
