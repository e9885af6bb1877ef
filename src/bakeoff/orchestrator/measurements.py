"""Bench: plan, acquire, measure in fresh processes, keep on disk, log once.

The order is what keeps promises: a result is durable on disk before the tracking store hears of it, so that a
crash or an outage after measuring costs an upload and never a second measurement.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from bakeoff import durable
from bakeoff.core import plan as planning
from bakeoff.core.champions import GivenChampions, parse_champions
from bakeoff.core.plan import ExistingBenchmark, Plan
from bakeoff.core.records import Champion, FailedAttempt, Hardware, Job, Measurement
from bakeoff.digest import digest_folder, digest_json
from bakeoff.errors import ConfigError, TrackingError, UserError
from bakeoff.measure.backends import Backend
from bakeoff.measure.entities import Document
from bakeoff.orchestrator.acquisition import acquire_for, identify_checkpoints
from bakeoff.orchestrator.champions import require_champions, select_champions
from bakeoff.orchestrator.execution import measure_all
from bakeoff.orchestrator.inputs import documents_for
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.run.hardware import default_threads, detect_hardware
from bakeoff.stores.tracking import benchmarks


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


def plan(project: Project) -> Plan:
    """Say of every job whether it would be measured or reused, and why; measures nothing.

    Raises:
        NoChampionError: No backbone has a champion.
        TrackingError: The store does not answer: that is never read as "nothing exists".
    """
    return plan_for(project, require_champions(select_champions(project)))


def plan_for(project: Project, champions: Sequence[Champion]) -> Plan:
    """Plan the jobs of these champions against tracking store and disk."""
    return planning.plan_jobs(
        build_jobs(project, champions),
        _find_existing(project, champions),
        project.benchmark_mode,
        project.settings.benchmark.max_attempts,
    )


def bench(project: Project) -> BenchResult:
    """Measure what is missing for every champion, log it, and write the result files.

    Raises:
        NoChampionError: No backbone has a champion.
        TrackingError: The store cannot say what exists.
    """
    champions = require_champions(select_champions(project))
    with _measuring(project):
        _send_waiting(project, champions)
        return _carry_out(project, champions, plan_for(project, champions))


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
        todo = planning.plan_jobs(
            build_jobs(project, identified),
            project.results.list_existing(champion.run_id for champion in identified),
            project.benchmark_mode,
            project.settings.benchmark.max_attempts,
        )
        able, ready = acquire_for(todo, identified, project)
        return _carry_out(project, ready, able).result_files


def build_jobs(project: Project, champions: Sequence[Champion]) -> list[Job]:
    """Every champion × runtime × scenario on this machine.

    Raises:
        CheckpointError: A given checkpoint is no sound folder.
        ConfigError: A runtime asks for more threads than this process may use.
        DataError: The test file is missing or broken.
        MissingExtraError: A runtime's library is not installed.
    """
    settings, hardware = project.settings.benchmark, detect_hardware()
    for runtime in settings.runtimes:
        runtime.require_installed()
    runtimes = [_fix_threads(runtime, hardware) for runtime in settings.runtimes]
    return [
        Job(
            backbone=champion.backbone,
            champion_run_id=champion.run_id,
            trial_run_id=champion.trial_run_id,
            sweep_run_id=champion.sweep_run_id,
            study_key_hash=champion.study_key_hash,
            trial_key_hash=champion.trial_key_hash,
            checkpoint_digest=_digest_of(champion),
            data_fingerprint=champion.data_fingerprint,
            eval_fingerprint=champion.eval_fingerprint,
            runtime=runtime,
            scenario=scenario,
            protocol=settings.protocol if scenario.is_timed else None,
            hardware=hardware,
            inputs_digest=_digest_documents(documents_for(project, scenario)),
            max_length=project.settings.data.max_length,
            metric_name=champion.metric_name,
            refit_metric=champion.refit_metric,
        )
        for champion in champions
        for runtime in runtimes
        for scenario in settings.scenarios
    ]


def _measuring(project: Project) -> AbstractContextManager[None]:
    return durable.exclusive(
        project.results.lock_path,
        lambda: project.progress.say("another process measures in this project; waiting for it"),
    )


def _fix_threads(runtime: Backend, hardware: Hardware) -> Backend:
    if runtime.threads is not None and runtime.threads > hardware.usable_cpus:
        fault = (
            f"benchmark.runtimes: {runtime.label} asks for {runtime.threads} threads; this process may use "
            f"{hardware.usable_cpus} CPUs; lower threads or leave it null"
        )
        raise ConfigError([fault])
    return runtime.model_copy(update={"threads": runtime.threads or default_threads(hardware)})


def _digest_of(champion: Champion) -> str:
    if champion.checkpoint_digest is not None:
        return champion.checkpoint_digest
    if champion.checkpoint_path is not None:
        return digest_folder(champion.checkpoint_path)
    raise UserError(
        f"champion {champion.backbone}, run {champion.run_id}: neither a checkpoint digest nor a folder "
        "is known; refit it with `bakeoff sweep`, or set checkpoint_path"
    )


def _digest_documents(documents: Iterable[Document]) -> str:
    return digest_json([[list(document.tokens), list(document.tags)] for document in documents])


def _find_existing(project: Project, champions: Sequence[Champion]) -> list[ExistingBenchmark]:
    wanted = {champion.run_id for champion in champions}
    experiment_id = project.tracker.find_experiment(project.settings.tracking.benchmark_experiment)
    logged = benchmarks.find_benchmarks(project.tracker, experiment_id, wanted) if experiment_id else []
    return [*logged, *project.results.list_existing(wanted)]


def _carry_out(project: Project, champions: Sequence[Champion], todo: Plan) -> BenchResult:
    begin = time.monotonic()
    for planned in todo.jobs:
        project.progress.say(f"{planned.job.label}: {planned.action}: {planned.reason}")
    attempts = measure_all(project, champions, todo)
    unlogged = sum(not _log(project, attempt) for attempt in attempts)
    _fetch_missing(project, todo)
    files = {}
    for champion in champions:
        mine = [
            measurement
            for planned in todo.jobs
            if planned.job.champion_run_id == champion.run_id
            and (measurement := project.results.load_valid(planned.job))
        ]
        if mine:
            files[champion.backbone] = project.results.write_champion(mine)
    return BenchResult(
        plan=todo,
        measured=tuple(attempt for attempt in attempts if isinstance(attempt, Measurement)),
        failed=tuple(attempt for attempt in attempts if isinstance(attempt, FailedAttempt)),
        result_files=files,
        unlogged=unlogged,
        wall_s=time.monotonic() - begin,
    )


def _log(project: Project, attempt: Measurement | FailedAttempt, *, may_exist: bool = False) -> bool:
    """Log one attempt; an outage leaves it on disk for the next command."""
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
        return False
    project.results.mark_logged(attempt, run_id)
    return True


def _send_waiting(project: Project, champions: Sequence[Champion]) -> None:
    """Log what an earlier command measured but could not log."""
    for attempt in project.results.find_unlogged(champion.run_id for champion in champions):
        if _log(project, attempt, may_exist=True):
            project.progress.say(f"{attempt.job.label}: logged now, measured earlier")


def _fetch_missing(project: Project, todo: Plan) -> None:
    """Fetch the readings of reused measurements that another machine or folder made."""
    for planned in todo.reused:
        if planned.run_id is not None and project.results.load_valid(planned.job) is None:
            with project.results.receiving() as folder:
                found = project.tracker.download(planned.run_id, "benchmark", folder)
                project.results.adopt(planned.job, planned.attempt, found, planned.run_id)
