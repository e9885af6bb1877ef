"""Send results to the tracking store: each once, published before its run is closed, and never lost."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.records import Champion
from bakeoff.disk import durable
from bakeoff.errors import TrackingError
from bakeoff.orchestrator.bench.prepare import Attempt
from bakeoff.orchestrator.decide import find_unsent_decision, send_decision
from bakeoff.orchestrator.plan import find_existing
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.results.store import LoggedRun
from bakeoff.stores.tracking import benchmarks
from bakeoff.stores.tracking.benchmarks import Logged


class SyncResult(Record):
    """What was sent, and what waits.

    Attributes:
        sent: What each is, for eyes.
        waiting: Safe on disk, and not in the tracking store.
        fault: Why the sending ended; empty where all was sent.
    """

    sent: tuple[str, ...]
    waiting: tuple[str, ...]
    fault: str = ""


def sync(project: Project) -> SyncResult:
    """Send every attempt, and a decision, that the tracking store has not got; measures nothing."""
    with durable.exclusive(
        project.results.lock_path,
        lambda: warn("another process measures in this project; waiting for it"),
    ):
        attempts = project.results.list_waiting()
        decision = find_unsent_decision(project)
        labels = [f"{attempt.job.label}, attempt {attempt.attempt}" for attempt in attempts]
        labels += [f"decision: {decision.winner or decision.outcome}"] if decision else []
        n_sent = 0
        try:
            for attempt in attempts:
                send(project, attempt, may_exist=True)
                n_sent += 1
            if decision is not None:
                send_decision(project, decision)
                n_sent += 1
        except TrackingError as error:
            return SyncResult(sent=tuple(labels[:n_sent]), waiting=tuple(labels[n_sent:]), fault=str(error))
    return SyncResult(sent=tuple(labels), waiting=())


def send(project: Project, attempt: Attempt, *, may_exist: bool) -> Logged:
    """Log one attempt, let it count if none does, and note on disk what became of it.

    Args:
        project: Whose stores.
        attempt: On disk.
        may_exist: An earlier try may have begun to log it.

    Raises:
        TrackingError: The store does not answer; the attempt waits on disk.
    """
    experiment_id = project.tracker.ensure_experiment(project.settings.tracking.benchmark_experiment)
    job, is_forced = attempt.job, project.results.is_forced(attempt)
    logged = benchmarks.log_attempt(
        project.tracker,
        experiment_id,
        attempt,
        project.results.attempt_files(attempt),
        may_exist=may_exist,
        publish=lambda run_id: project.claims.publish(
            job.key_digest, run_id, attempt.attempt, is_forced=is_forced
        ),
    )
    project.results.mark_logged(attempt, describe_run(project, experiment_id, logged.run_id))
    if logged.superseded_by is not None:
        place = project.results.set_aside(attempt)
        project.progress.say(
            f"{job.label}: run {logged.superseded_by} was published first and counts; ours is kept in {place}"
        )
    return logged


def describe_run(project: Project, experiment_id: str, run_id: str) -> LoggedRun:
    """Where a run of this project's store is."""
    return LoggedRun(store=project.tracker.shown_uri, experiment_id=experiment_id, run_id=run_id)


def send_waiting(
    project: Project, champions: Sequence[Champion], existing: Sequence[ExistingBenchmark]
) -> list[ExistingBenchmark]:
    """Send what the disk has of some champions and the store has not; returns what exists then."""
    sent, was_superseded = list(existing), False
    for number, benchmark in enumerate(existing):
        if project.is_offline or not is_waiting(benchmark) or benchmark.key is None:
            continue
        attempt = project.results.load(benchmark.key, benchmark.attempt)
        try:
            logged = send(project, attempt, may_exist=True)
        except TrackingError as error:
            project.progress.say(f"{attempt.job.label}: measured and safe on disk, but not logged: {error}")
            break
        project.progress.say(f"{attempt.job.label}: logged now, measured earlier")
        was_superseded = was_superseded or logged.superseded_by is not None
        sent[number] = benchmark.model_copy(update={"run_id": logged.run_id})
    return find_existing(project, champions) if was_superseded else sent


def is_waiting(benchmark: ExistingBenchmark) -> bool:
    """Whether the disk has it and the store has not."""
    return benchmark.on_disk and benchmark.run_id is None
