"""JSON documents of the stages; the other commands have theirs with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from bakeoff.cli.output import PrintedDocument
from bakeoff.core.decision.decide import Decision
from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.plan.jobs import Action, PlannedJob
from bakeoff.core.plan.wall_time import WallTime
from bakeoff.core.records import AnyModel, BackboneSelection
from bakeoff.orchestrator.bench.bench import BenchResult
from bakeoff.orchestrator.bench.upload import SyncResult
from bakeoff.orchestrator.promote.promote import Promotion
from bakeoff.orchestrator.sweep.lead import SweepResult
from bakeoff.record import Record


class OfflineOrigin(Record):
    """Origin of a result that was made without the tracking store.

    Attributes:
        champions_selected_at: Time of the selection that was used; UTC, ISO 8601; null without a sweep.
        champions_from: URI of the tracking store of that selection; null without a sweep.
    """

    champions_selected_at: str | None = None
    champions_from: str | None = None


class SweepDocument(PrintedDocument):
    """Outcome of each backbone's study.

    Attributes:
        result: One entry a backbone.
    """

    command: Literal["sweep"] = "sweep"
    result: tuple[SweepResult, ...]


class ChampionsDocument(PrintedDocument):
    """Selection of each backbone's champion.

    Attributes:
        models: Source of each named model.
        result: Selections by backbone.
    """

    command: Literal["champions"] = "champions"
    models: dict[str, str]
    result: dict[str, BackboneSelection]


class PlanRow(Record):
    """One job, and the action planned for it.

    Attributes:
        key: Benchmark key.
        key_digest: Digest of the key.
        job: Label of the job.
        model: Model that the job measures.
        action: ``measure``, ``log``, ``reuse`` or ``leave``.
        reason: Why this action, in words.
        attempt: Number of the next attempt, or of the reused one.
        run_id: Run of the reused measurement; null without one.
        has_readings: Whether the reused measurement can be ranked.
        last_reason: Why the last attempt does not count, if all attempts are used up.
    """

    key: str
    key_digest: str
    job: str
    model: AnyModel
    action: Action
    reason: str
    attempt: int
    run_id: str | None
    has_readings: bool
    last_reason: str

    @classmethod
    def of(cls, planned: PlannedJob, **more: Any) -> Self:
        """Describe a planned job, with the other fields of a record that has more."""
        job = planned.job
        return cls(key=job.key, key_digest=job.key_digest, **dict(planned) | {"job": job.label} | more)


class ComparedPart(Record):
    """One part of a job's identity, in the job and in its nearest benchmark.

    Attributes:
        found: Value of the benchmark; null without one.
        wanted: Value of the job; null without one.
    """

    name: str
    found: str | None
    wanted: str | None
    is_same: bool


class ExplainedJob(PlanRow):
    """One job next to its nearest benchmark.

    Attributes:
        nearest: Nearest benchmark; null if there is none.
        parts: Parts of the identity of both.
    """

    nearest: ExistingBenchmark | None
    parts: tuple[ComparedPart, ...]


class PlanDocument(PrintedDocument):
    """Planned jobs, or with ``--explain`` one job next to its nearest benchmark.

    Attributes:
        offline: Origin of a result that was made without the tracking store; null with it.
        estimate: Estimated time to measure the plan; null without work, on a cluster and with ``--explain``.
    """

    command: Literal["plan"] = "plan"
    offline: OfflineOrigin | None
    estimate: WallTime | None = None
    result: tuple[PlanRow, ...] | ExplainedJob


class MeasuredJob(Record):
    """Job that was measured.

    Attributes:
        key: Benchmark key.
        job: Label of the job.
        validity: ``valid``, or the names of the flags that invalidate it.
    """

    key: str
    job: str
    validity: str


class FailedJob(Record):
    """Job that ended without a measurement.

    Attributes:
        key: Benchmark key.
        job: Label of the job.
        reason: Why it failed.
    """

    key: str
    job: str
    reason: str


class LeftJob(Record):
    """Job that was not measured.

    Attributes:
        key: Benchmark key.
        reason: Why nothing was measured.
    """

    key: str
    reason: str


class BenchOutcome(Record):
    """Outcome of each job of a bench.

    Attributes:
        reused: Keys of the jobs whose measurement was reused.
        contended: Keys of the jobs that are not done only because the machine was busy.
        result_files: Path of ``benchmark.json`` of each backbone with a measurement.
        unlogged: Number of measurements on this disk that are not yet in the tracking store.
    """

    measured: tuple[MeasuredJob, ...]
    failed: tuple[FailedJob, ...]
    reused: tuple[str, ...]
    left: tuple[LeftJob, ...]
    contended: tuple[str, ...]
    result_files: dict[str, Path]
    unlogged: int

    @classmethod
    def of(cls, result: BenchResult) -> Self:
        """Describe a bench without its readings."""
        plan = result.plan
        return cls(
            measured=tuple(
                MeasuredJob(key=each.job.key, job=each.job.label, validity=each.validity)
                for each in result.measured
            ),
            failed=tuple(
                FailedJob(key=each.job.key, job=each.job.label, reason=each.reason) for each in result.failed
            ),
            reused=tuple(each.job.key for each in plan.reused),
            left=tuple(LeftJob(key=each.job.key, reason=each.reason) for each in plan.left),
            contended=tuple(job.key for job in result.contended),
            result_files=result.result_files,
            unlogged=result.unlogged,
        )


class BenchDocument(PrintedDocument):
    """Outcome of each job.

    Attributes:
        offline: Origin of a result that was made without the tracking store; null with it.
    """

    command: Literal["bench"] = "bench"
    offline: OfflineOrigin | None
    result: BenchOutcome


class SyncDocument(PrintedDocument):
    """Results that were sent to the tracking store, and those that wait."""

    command: Literal["sync"] = "sync"
    result: SyncResult


class DecideDocument(PrintedDocument):
    """Decision: standings, winner, reasons, settings and evidence.

    Attributes:
        offline: Origin of a result that was made without the tracking store; null with it.
    """

    command: Literal["decide"] = "decide"
    offline: OfflineOrigin | None
    result: Decision


class WrittenReport(Record):
    """Page that was written.

    Attributes:
        path: Path of the page.
    """

    path: Path


class ReportDocument(PrintedDocument):
    """Path of the page."""

    command: Literal["report"] = "report"
    result: WrittenReport


class PromoteDocument(PrintedDocument):
    """Version that is, or with ``--dry-run`` would be, at ``@champion``."""

    command: Literal["promote"] = "promote"
    result: Promotion
