"""Code that runs on a node: the orchestrator's own, on a folder of the node.

A node keeps its measurements until the command that asked for them has them on its own disk. A command that
died asks again when it is started again. Arguments and answers are plain values, see ``messages``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bakeoff.core.records import AnyModel
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.errors import BakeoffError, UserError
from bakeoff.orchestrator.bench.claims import BenchClaims
from bakeoff.orchestrator.bench.execute import measure_unit
from bakeoff.orchestrator.bench.messages import Assignment, Delivery
from bakeoff.orchestrator.hardware import examine_machine, node_folder
from bakeoff.orchestrator.plan import digest_documents, documents_for
from bakeoff.orchestrator.progress import Quiet, warn
from bakeoff.orchestrator.project import Project, waiting_to_measure
from bakeoff.run.cluster import find_node_id
from bakeoff.run.machine.forks import keeping_servers
from bakeoff.run.machine.lock import measuring
from bakeoff.stores.results.store import ResultStore


class Notes(Quiet):
    """Keeps progress lines and warnings, to be sent back."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def say(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)

    @contextmanager
    def keeping_warnings(self) -> Iterator[None]:
        """Keep the warnings of the library meanwhile, in place of logging them on this node."""
        logger, handler = logging.getLogger("bakeoff"), _Keeper(self.warnings)
        before, logger.propagate = logger.propagate, False
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = before


class _Keeper(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())


def carry_out(assignment: str) -> dict[str, Any]:
    """Measure the jobs of an assignment, one command at a time; attempts on this disk are not repeated."""
    order = Assignment.model_validate_json(assignment)
    notes = Notes()
    project = _open_project(order, notes)
    with notes.keeping_warnings(), _alone(project):
        begin_s = time.monotonic()
        forget(order.project, order.received)
        claims = BenchClaims(project)
        wanted = [planned for planned in order.jobs if planned.action == "measure"]
        if not all(project.results.holds(each.job.key_digest, each.attempt) for each in wanted):
            _measure(project, order, claims)
        return Delivery(
            attempts=tuple(
                project.results.pack(each.job, each.attempt)
                for each in wanted
                if project.results.holds(each.job.key_digest, each.attempt)
            ),
            node_id=find_node_id(),
            wall_s=time.monotonic() - begin_s,
            unready=tuple(claims.outcomes.unready),
            said=tuple(notes.lines),
            warned=tuple(notes.warnings),
        ).model_dump()


def hand_over(token: str) -> dict[str, Any]:
    """Return all attempts of a project on this node."""
    results = ResultStore(node_folder(token) / "results")
    return Delivery(attempts=tuple(results.list_packed()), node_id=find_node_id()).model_dump()


def forget(token: str, places: Sequence[tuple[str, int]]) -> None:
    """Remove attempts that the command has on its own disk, by key digest and number."""
    results = ResultStore(node_folder(token) / "results")
    for key_digest, attempt in places:
        results.remove(key_digest, attempt)


def _open_project(order: Assignment, notes: Notes) -> Project:
    """Open the project on this node: the same settings and documents, its own results and cache."""
    root = node_folder(order.project)
    test = f"data/{digest_json(order.test)}.jsonl"
    if not (root / test).is_file():
        durable.write_bytes(root / test, order.test.encode())
    data = order.settings.data.replace(test=test, train=None, format=None)
    settings = order.settings.replace(data=data)
    return Project(root, settings, notes, is_offline=order.is_offline)


@contextmanager
def _alone(project: Project) -> Iterator[None]:
    with waiting_to_measure(project), measuring(warn), keeping_servers():
        yield


def _measure(project: Project, order: Assignment, claims: BenchClaims) -> None:
    try:
        _refuse_other_jobs(project, order)
    except BakeoffError as error:
        for planned in order.jobs:
            if planned.action == "measure":
                claims.outcomes.fail(project, planned, error)
        return
    unit = tuple(planned.replace(model=_as_seen_here(planned.model)) for planned in order.jobs)
    measure_unit(project, unit, claims, lambda _: None)


def _refuse_other_jobs(project: Project, order: Assignment) -> None:
    """Refuse jobs whose keys name other hardware or other documents."""
    hardware = examine_machine(project.settings.benchmark)
    for planned in order.jobs:
        if planned.job.hardware != hardware:
            found = f"planned for {planned.job.hardware.label}, but this node is {hardware.label}"
            raise UserError(f"{planned.job.label}: {found}; run `bakeoff bench` again to plan again")
        if planned.job.inputs_digest != digest_documents(documents_for(project, planned.job.scenario)):
            raise UserError(
                f"{planned.job.label}: the test documents that arrived differ from those of its key"
            )


def _as_seen_here(champion: AnyModel) -> AnyModel:
    """Return the model without its checkpoint folder, if this node cannot see that."""
    if champion.checkpoint_path is None or champion.checkpoint_path.is_dir():
        return champion
    return champion.replace(checkpoint_path=None)
