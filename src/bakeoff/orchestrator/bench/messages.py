"""Messages between the command that plans and the nodes that measure: plain values, checked on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ValidationError

from bakeoff.core.config.settings import Settings
from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import Attempt, FailedAttempt
from bakeoff.errors import DataError, WorkerError
from bakeoff.orchestrator.bench.prepare import JobOutcomes
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.results.attempt_files import parse_attempt
from bakeoff.stores.results.store import PackedAttempt

DETAIL_CHARS = 2000


class Assignment(Record):
    """A work unit for a node.

    Attributes:
        project: Token of the project; nodes keep the results of projects apart.
        settings: Settings of the project, with URIs as the nodes must use them.
        test: Rows of the file with the test documents, as JSON Lines.
        jobs: Jobs with their models, the reference of a heat first. A node that can see the folder of a
            checkpoint reads it there.
        received: Attempts that the node may remove, by key digest and number.
        is_offline: Whether the tracking store must not be asked.
    """

    format_version: Literal[2] = 2
    project: str
    settings: Settings
    test: str
    jobs: tuple[PlannedJob, ...]
    received: tuple[tuple[str, int], ...] = ()
    is_offline: bool = False


class Delivery(Record):
    """Attempts that a node sends back.

    Attributes:
        node_id: Id of the node in the cluster.
        wall_s: Time that the node was busy with the work unit.
        unready: Jobs that were not tried, because their checkpoint could not be fetched.
        said: Progress lines of the node.
        warned: Warnings of the node.
    """

    attempts: tuple[PackedAttempt, ...]
    node_id: str
    wall_s: float = 0.0
    unready: tuple[FailedAttempt, ...] = ()
    said: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


def assign(
    project: Project,
    jobs: Sequence[PlannedJob],
    received: Sequence[tuple[str, int]],
) -> Assignment:
    """Collect everything that a node needs to measure some jobs."""
    return Assignment(
        project=project.results.token,
        settings=project.settings_for_nodes,
        test=project.encode_test_file(),
        jobs=tuple(jobs),
        received=tuple(received),
        is_offline=project.is_offline,
    )


def unpack(packed: PackedAttempt) -> Attempt:
    """Read an attempt from its files.

    Raises:
        DataError: It is not a complete attempt, or not the one that its name says.
    """
    place = f"attempt {packed.number} of {packed.key_digest[:12]}, as a node sent it"
    attempt = parse_attempt(packed.document, packed.arrays, place)
    if (attempt.job.key_digest, attempt.attempt) != (packed.key_digest, packed.number):
        raise DataError(place, found=f"attempt {attempt.attempt} of {attempt.job.key}", expected="this one")
    return attempt


def receive(
    project: Project, jobs: Sequence[PlannedJob], delivery: object, outcomes: JobOutcomes
) -> Delivery | None:
    """Keep what a node sent for some jobs; a job without its attempt gets a failed one.

    Args:
        project: Project whose disk keeps the attempts.
        jobs: Jobs as they were assigned.
        delivery: Answer of the node, unparsed.
        outcomes: Gets every attempt.

    Returns:
        The parsed answer; None if it is broken.
    """
    wanted = [planned for planned in jobs if planned.action == "measure"]
    expected = {(planned.job.key, planned.attempt): planned for planned in wanted}
    try:
        found = Delivery.model_validate(delivery)
        attempts = [unpack(each) for each in found.attempts]
    except (ValidationError, DataError) as error:
        broken = WorkerError("a node sent a broken result", detail=str(error)[:DETAIL_CHARS])
        for planned in wanted:
            outcomes.fail(project, planned, broken)
        return None
    for attempt in attempts:
        if expected.pop((attempt.job.key, attempt.attempt), None) is not None:
            outcomes.keep(project, attempt)
    for unready in found.unready:
        if expected.pop((unready.job.key, unready.attempt), None) is not None:
            outcomes.unready.append(unready)
    for planned in expected.values():
        outcomes.fail(project, planned, WorkerError("the node sent no result for this job"))
    return found
