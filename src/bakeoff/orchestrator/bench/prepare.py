"""Prepare jobs: acquire checkpoints, make the files of backends, give orders, and keep outcomes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bakeoff.core.job import Environment, Job, TimedJob
from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import Attempt, FailedAttempt, Flag, Measurement
from bakeoff.core.run_mode import RunMode
from bakeoff.core.validity.flags import MIXED_ENVIRONMENTS
from bakeoff.disk.folders import find_whole
from bakeoff.errors import BakeoffError, TrackingError, UserError, WorkerError
from bakeoff.measure.backends import RowBackend
from bakeoff.measure.backends.parity import CHECK_MAX_LENGTH, choose_more_sizes
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.opening import open_model
from bakeoff.measure.model.row_model import RowModel
from bakeoff.measure.statistics.readings import Reading
from bakeoff.measure.tasks import Document
from bakeoff.orchestrator.bench.limits import bound_memory_bytes, bound_time_s
from bakeoff.orchestrator.checkpoints import find_checkpoint
from bakeoff.orchestrator.plan import documents_for
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.run.measuring.orders import (
    PendingOrder,
    PrepareOrder,
    TimedOrder,
    UntimedOrder,
    run_in_process,
)

N_CHECK_TEXTS = 64

# Errors that end one job, while the others go on.
EndsOneJob = (WorkerError, UserError, TrackingError)


@dataclass(frozen=True)
class PreparedJob:
    """A planned job with the files that it needs.

    Attributes:
        checkpoint: Folder of the checkpoint on this machine.
        prepared: Folder of the files that the backend makes from it; None if it makes none.
    """

    planned: PlannedJob
    checkpoint: Path
    prepared: Path | None

    @property
    def job(self) -> Job:
        """The job."""
        return self.planned.job

    def open(self) -> Checkpoint | RowModel:
        """Open the model, as its runtime loads it."""
        return open_model(self.checkpoint, self.job.runtime.runs)

    @property
    def token_limit(self) -> int:
        """Tokens after which a document is cut, by the job or by the model."""
        opened, most = self.open(), self.job.max_length
        return opened.token_limit(most) if isinstance(opened, Checkpoint) else most


def prepare_job(project: Project, planned: PlannedJob) -> PreparedJob:
    """Acquire the checkpoint, and let the backend make its files, once for each checkpoint.

    Raises:
        UserError: The checkpoint is missing, or not the one that the refit logged.
        WorkerError: The runtime cannot be prepared, or its outputs are wrong.
    """
    ready = acquire_job(project, planned)
    task = find_preparation(project, ready)
    if task is not None:
        run_in_process(task.order, task.folder, task.timeout_s)
        shutil.rmtree(task.folder, ignore_errors=True)
    return ready


def acquire_job(project: Project, planned: PlannedJob) -> PreparedJob:
    """Acquire the checkpoint, and name the folder of the backend's files, which may not exist yet.

    Raises:
        UserError: The checkpoint is missing, not the one that the refit logged, or does not know the labels
            that the scenario compares with.
    """
    job = planned.job
    checkpoint = find_checkpoint(planned.model, project)
    opened = open_model(checkpoint, job.runtime.runs)
    if isinstance(opened, Checkpoint):
        job.task.require_head(opened)
        if job.scenario.needs_labels:
            job.task.require_labels_known(job.backbone, opened.labels, project.test_documents)
    settings = job.runtime.prepare_settings()
    if settings is None:
        return PreparedJob(planned, checkpoint, prepared=None)
    if job.max_length > CHECK_MAX_LENGTH:  # then the longest document is tried, too
        settings["max_length"] = str(job.max_length)
    if more := _list_more_sizes(project):
        settings["batch_sizes"] = ",".join(map(str, more))
    folder = project.checkpoints.prepared_folder(job.checkpoint_digest, settings)
    return PreparedJob(planned, checkpoint, folder)


def find_preparation(project: Project, ready: PreparedJob) -> PendingOrder | None:
    """Return the task that makes the backend's files; None if they exist, or none are needed."""
    job, runtime = ready.job, ready.job.runtime
    if ready.prepared is None or isinstance(runtime, RowBackend):
        return None
    if find_whole(ready.prepared, rehash=True) is not None:
        return None
    project.progress.say(f"{job.candidate}: preparing, and comparing the outputs with PyTorch's")
    settings, opened = project.settings.benchmark, ready.open()
    order = PrepareOrder(
        runtime=runtime,
        checkpoint=ready.checkpoint,
        checkpoint_digest=job.checkpoint_digest,
        destination=ready.prepared,
        task=job.task,
        documents=pick_check_documents(project.test_documents),
        max_length=job.max_length,
        more_sizes=_list_more_sizes(project),
        memory_limit_bytes=bound_memory_bytes(settings, opened, runtime),
        variables=project.worker_variables,
    )
    folder = project.results.work_folder(job, ready.planned.attempt, "prepare")
    return PendingOrder(order, folder, bound_time_s(settings, opened))


def _list_more_sizes(project: Project) -> tuple[int, ...]:
    """List the batch sizes of all scenarios that no comparison has anyway; a preparation serves them all."""
    measured = {size for scenario in project.settings.benchmark.scenarios for size in scenario.call_sizes}
    return choose_more_sizes(measured, min(N_CHECK_TEXTS, len(project.test_documents)))


def pick_check_documents(documents: Sequence[Document]) -> tuple[Document, ...]:
    """Pick the first documents and the longest one, which shows whether the model accepts its length."""
    first = documents[: N_CHECK_TEXTS - 1]
    longest = max(documents, key=lambda document: document.length)
    return tuple(first) if longest in first else (*first, longest)


def make_order(
    project: Project, ready: PreparedJob, repeat: int, lengths: tuple[int, ...] | None = None
) -> TimedOrder | UntimedOrder:
    """Make the order for one process of a job.

    Args:
        project: Project of the job.
        ready: Job with its files.
        repeat: Number of the process, from 0.
        lengths: Length of each document, by which inputs are put in order; None counts words.
    """
    job, settings = ready.job, project.settings.benchmark
    limit_bytes = settings.memory_limit_bytes
    if not isinstance(job, TimedJob):
        limit_bytes = bound_memory_bytes(settings, ready.open(), job.runtime)
    parts: dict[str, Any] = {
        "runtime": job.runtime,
        "scenario": job.scenario,
        "checkpoint": ready.checkpoint,
        "checkpoint_digest": job.checkpoint_digest,
        "prepared": ready.prepared,
        "task": job.task,
        "documents": documents_for(project, job.scenario),
        "max_length": job.max_length,
        "repeat": repeat,
        "lengths": lengths,
        "cpus": settings.cpus,
        "memory_limit_bytes": limit_bytes,
        "variables": project.worker_variables,
    }
    if isinstance(job, TimedJob):
        return TimedOrder(**parts, protocol=job.protocol)
    return UntimedOrder(**parts)


@dataclass(frozen=True)
class JobOutcomes:
    """Outcomes of the jobs so far.

    Attributes:
        kept: Attempts on disk, measured or failed.
        unready: Jobs that were not tried, because their checkpoint could not be fetched; not on disk.
        unneeded: Reason for each job that a race skips, by key.
        refused: Error of each folder of a backend's files that a preparation refused to make.
    """

    kept: list[Attempt] = field(default_factory=list)
    unready: list[FailedAttempt] = field(default_factory=list)
    unneeded: dict[str, str] = field(default_factory=dict)
    refused: dict[Path, WorkerError] = field(default_factory=dict)

    def keep(self, project: Project, attempt: Attempt) -> None:
        """Store an attempt."""
        is_forced = isinstance(attempt, Measurement) and project.benchmark_mode is RunMode.FORCE_NEW
        project.results.store(attempt, is_forced=is_forced)
        self.kept.append(attempt)

    def fail(
        self, project: Project, planned: PlannedJob, error: BakeoffError, readings: Sequence[Reading] = ()
    ) -> None:
        """Store a failed attempt with the readings from before it failed; the other jobs go on."""
        warn(f"{planned.job.label}: failed: {error}")
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
    """Flag a job whose processes saw different hardware or libraries."""
    if len({environment.digest for environment in environments}) < 2:  # noqa: PLR2004
        return ()
    return (MIXED_ENVIRONMENTS.raised("its processes saw different environments"),)


def now_text() -> str:
    """Return the present time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
