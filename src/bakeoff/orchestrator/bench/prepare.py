"""What a job needs before it can run, and what is kept when it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import Champion, Environment, FailedAttempt, Flag, Job, Measurement
from bakeoff.core.run_mode import RunMode
from bakeoff.core.validity.flags import MIXED_ENVIRONMENTS
from bakeoff.disk.folders import find_whole
from bakeoff.errors import BakeoffError, TrackingError, UserError, WorkerError
from bakeoff.measure.statistics.readings import Reading
from bakeoff.orchestrator.checkpoints import find_checkpoint
from bakeoff.orchestrator.plan import documents_for
from bakeoff.orchestrator.project import Project
from bakeoff.run.measuring.orders import MeasureOrder, PrepareOrder, Task, run_in_fresh_process

N_CHECK_TEXTS = 64

Attempt = Measurement | FailedAttempt
# What ends one job and no other.
EndsOneJob = (WorkerError, UserError, TrackingError)


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


def make_ready(project: Project, planned: PlannedJob, champion: Champion) -> Work:
    """Acquire the checkpoint, and let the backend prepare what it runs, once for each checkpoint.

    Raises:
        UserError: The checkpoint is not there, or not what the refit logged.
        WorkerError: The runtime cannot be prepared, or its outputs are wrong.
    """
    work = find_work(project, planned, champion)
    task = find_preparation(project, work)
    if task is not None:
        run_in_fresh_process(task.order, task.folder, task.timeout_s)
        shutil.rmtree(task.folder, ignore_errors=True)
    return work


def find_work(project: Project, planned: PlannedJob, champion: Champion) -> Work:
    """Acquire the checkpoint, and say where what the backend prepares belongs.

    Raises:
        UserError: The checkpoint is not there, or not what the refit logged.
    """
    job = planned.job
    checkpoint = find_checkpoint(champion, project)
    settings = job.runtime.prepare_settings()
    if settings is None:
        return Work(planned, checkpoint, prepared=None)
    return Work(planned, checkpoint, project.checkpoints.prepared_folder(job.checkpoint_digest, settings))


def find_preparation(project: Project, work: Work) -> Task | None:
    """Return what is to be done before a job can run; None if its backend needs nothing that is not there."""
    job = work.job
    if work.prepared is None or find_whole(work.prepared, rehash=True) is not None:
        return None
    project.progress.say(f"{job.candidate}: preparing, and comparing the outputs with PyTorch's")
    order = PrepareOrder(
        runtime=job.runtime,
        checkpoint=work.checkpoint,
        checkpoint_digest=job.checkpoint_digest,
        destination=work.prepared,
        texts=tuple(document.tokens for document in project.corpus.test[:N_CHECK_TEXTS]),
        memory_limit_bytes=project.settings.benchmark.memory_limit_bytes,
    )
    folder = project.results.work_folder(job, work.planned.attempt, "prepare")
    return Task(order, folder, project.settings.benchmark.timeout_s)


def make_order(
    project: Project, work: Work, repeat: int, lengths: tuple[int, ...] | None = None
) -> MeasureOrder:
    """What one process of a job is told to do; lengths are of its documents, to put them in order."""
    return MeasureOrder(
        runtime=work.job.runtime,
        scenario=work.job.scenario,
        protocol=work.job.protocol,
        checkpoint=work.checkpoint,
        checkpoint_digest=work.job.checkpoint_digest,
        prepared=work.prepared,
        documents=documents_for(project, work.job.scenario),
        max_length=work.job.max_length,
        repeat=repeat,
        lengths=lengths,
        cpus=project.settings.benchmark.cpus,
        memory_limit_bytes=project.settings.benchmark.memory_limit_bytes,
    )


@dataclass(frozen=True)
class Outcomes:
    """What became of the jobs so far.

    Attributes:
        kept: Every attempt that is on disk, measured or failed.
        unready: Jobs that were not tried, since their checkpoint could not be fetched; nothing is kept.
    """

    kept: list[Attempt] = field(default_factory=list)
    unready: list[FailedAttempt] = field(default_factory=list)

    def keep(self, project: Project, attempt: Attempt) -> None:
        """Store an attempt."""
        is_forced = isinstance(attempt, Measurement) and project.benchmark_mode is RunMode.FORCE_NEW
        project.results.store(attempt, is_forced=is_forced)
        self.kept.append(attempt)

    def fail(
        self, project: Project, planned: PlannedJob, error: BakeoffError, readings: Sequence[Reading] = ()
    ) -> None:
        """Store a failed attempt, with what was read before it failed; the other jobs go on."""
        project.progress.say(f"{planned.job.label}: failed: {error}")
        attempt = FailedAttempt(
            job=planned.job,
            attempt=planned.attempt,
            failed_at=now_text(),
            reason=error.reason if isinstance(error, WorkerError) else str(error),
            detail=error.detail if isinstance(error, WorkerError) else "",
            readings=tuple(readings),
        )
        if isinstance(error, TrackingError):
            self.unready.append(attempt)
        else:
            self.keep(project, attempt)


def flag_mixed(environments: Sequence[Environment]) -> tuple[Flag, ...]:
    """Whether the processes of one job saw the machine or the libraries change."""
    if len({environment.digest for environment in environments}) < 2:  # noqa: PLR2004
        return ()
    detail = "its processes saw unlike environments"
    return (MIXED_ENVIRONMENTS.raised(detail),)


def now_text() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
