"""What travels between the command that plans and the nodes that measure: by value, checked on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ValidationError

from bakeoff.core.config.settings import Settings
from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import Champion, FailedAttempt
from bakeoff.errors import DataError, WorkerError
from bakeoff.orchestrator.bench.prepare import Attempt, Outcomes
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.results.attempt_files import parse_attempt
from bakeoff.stores.results.store import PackedAttempt

DETAIL_CHARS = 2000


class Assignment(Record):
    """Jobs for a node: one, or those of a heat.

    Attributes:
        project: Token of the project; nodes keep the results of each apart.
        settings: Of the project; URIs and experiments as the nodes shall use them.
        test: The file with the test documents, as it is.
        jobs: The reference of a heat first.
        champions: Of the jobs. Where a checkpoint's folder is seen by the node, it is read there.
        received: Attempts that need not be kept by the node any longer, by key digest and number.
        is_offline: The tracking store must not be asked.
    """

    format_version: Literal[2] = 2
    project: str
    settings: Settings
    test: str
    jobs: tuple[PlannedJob, ...]
    champions: tuple[Champion, ...]
    received: tuple[tuple[str, int], ...] = ()
    is_offline: bool = False


class Delivery(Record):
    """What a node sends back.

    Attributes:
        node_id: Of the node, as the cluster calls it.
        wall_s: How long the node was busy with it.
        unready: Jobs that were not tried, since their checkpoint could not be fetched.
        said: What it would have told a person who waits.
    """

    attempts: tuple[PackedAttempt, ...]
    node_id: str
    wall_s: float = 0.0
    unready: tuple[FailedAttempt, ...] = ()
    said: tuple[str, ...] = ()


def assign(
    project: Project,
    jobs: Sequence[PlannedJob],
    champions: Sequence[Champion],
    received: Sequence[tuple[str, int]],
) -> Assignment:
    """Put together all that a node needs to measure some jobs."""
    wanted = {planned.job.champion_run_id for planned in jobs}
    return Assignment(
        project=project.results.token,
        settings=project.settings_for_nodes,
        test=project.test_path.read_text(encoding="utf-8"),
        jobs=tuple(jobs),
        champions=tuple(champion for champion in champions if champion.run_id in wanted),
        received=tuple(received),
        is_offline=project.is_offline,
    )


def unpack(packed: PackedAttempt) -> Attempt:
    """An attempt from its files.

    Raises:
        DataError: It is no whole attempt, or another one than its name says.
    """
    place = f"attempt {packed.number} of {packed.key_digest[:12]}, as a node sent it"
    attempt = parse_attempt(packed.document, packed.arrays, place)
    if (attempt.job.key_digest, attempt.attempt) != (packed.key_digest, packed.number):
        raise DataError(place, found=f"attempt {attempt.attempt} of {attempt.job.key}", expected="this one")
    return attempt


def receive(
    project: Project, jobs: Sequence[PlannedJob], delivery: object, outcomes: Outcomes
) -> Delivery | None:
    """Keep what a node sent for some jobs; whatever is not what was asked for is a failed attempt.

    Args:
        project: Whose disk keeps it.
        jobs: As they were assigned.
        delivery: As it arrived.
        outcomes: Gets every attempt.

    Returns:
        What the node sent; None if it was nothing whole.
    """
    wanted = [planned for planned in jobs if planned.action == "measure"]
    expected = {(planned.job.key, planned.attempt): planned for planned in wanted}
    try:
        found = Delivery.model_validate(delivery)
        attempts = [unpack(each) for each in found.attempts]
    except (ValidationError, DataError) as error:
        broken = WorkerError("a node sent no whole result", detail=str(error)[:DETAIL_CHARS])
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
        outcomes.fail(project, planned, WorkerError("the node sent no result of it"))
    return found
