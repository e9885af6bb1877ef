"""Upload results to the tracking store: each once, published before its run is closed, and never lost."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.records import AnyModel, Attempt
from bakeoff.errors import TrackingError
from bakeoff.orchestrator.decide import find_unsent_decision, send_decision
from bakeoff.orchestrator.plan import find_existing
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project, waiting_to_measure
from bakeoff.record import Record
from bakeoff.stores.results.views import LoggedRun
from bakeoff.stores.tracking import benchmarks
from bakeoff.stores.tracking.benchmarks import Logged


class SyncResult(Record):
    """Uploaded and waiting results.

    Attributes:
        sent: Labels of the uploaded results.
        waiting: Labels of results that are safe on disk, and not in the tracking store.
        fault: Why the upload stopped; empty if everything was sent.
    """

    sent: tuple[str, ...]
    waiting: tuple[str, ...]
    fault: str = ""


def sync(project: Project) -> SyncResult:
    """Upload every attempt, and the decision, that the tracking store does not have; measure nothing."""
    with waiting_to_measure(project):
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
    """Log one attempt, publish it if no other counts, and note its run on disk.

    Args:
        project: Project with the stores.
        attempt: Attempt on disk.
        may_exist: Whether an earlier try may have begun to log it.

    Raises:
        TrackingError: The store does not answer; the attempt waits on disk.
    """
    experiment_id = project.ensure_benchmark_experiment()
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
        warn(
            f"{job.label}: run {logged.superseded_by} was published first and counts; ours is kept in {place}"
        )
    return logged


def describe_run(project: Project, experiment_id: str, run_id: str) -> LoggedRun:
    """Describe where a run of this project's store is."""
    return LoggedRun(store=project.tracker.shown_uri, experiment_id=experiment_id, run_id=run_id)


def send_waiting(
    project: Project, champions: Sequence[AnyModel], existing: Sequence[ExistingBenchmark]
) -> list[ExistingBenchmark]:
    """Upload results of some models that the store does not have, and return what exists then."""
    sent, was_superseded = list(existing), False
    for number, benchmark in enumerate(existing):
        if project.is_offline or not is_waiting(benchmark) or benchmark.key is None:
            continue
        attempt = project.results.load(benchmark.key, benchmark.attempt)
        try:
            logged = send(project, attempt, may_exist=True)
        except TrackingError as error:
            warn(f"{attempt.job.label}: measured and safe on disk, but not logged: {error}")
            break
        project.progress.say(f"{attempt.job.label}: logged now, measured earlier")
        was_superseded = was_superseded or logged.superseded_by is not None
        sent[number] = benchmark.replace(run_id=logged.run_id)
    return find_existing(project, champions) if was_superseded else sent


def is_waiting(benchmark: ExistingBenchmark) -> bool:
    """Return whether the disk has it and the store does not."""
    return benchmark.on_disk and benchmark.run_id is None
