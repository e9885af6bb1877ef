"""Who measures: this thread, under the lock of the machine; or the nodes of a cluster, all at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import ParamSpec, Protocol, TypeVar

from bakeoff.core.config.execution import Node
from bakeoff.core.records import Champion
from bakeoff.errors import ClusterError, DataError, NodeLostError, WorkerError
from bakeoff.orchestrator.bench import node
from bakeoff.orchestrator.bench.claims import Share
from bakeoff.orchestrator.bench.execute import count_steps, measure_unit
from bakeoff.orchestrator.bench.messages import Delivery, assign, receive, unpack
from bakeoff.orchestrator.bench.work_units import Unit
from bakeoff.orchestrator.hardware import ask_nodes, find_new_nodes
from bakeoff.orchestrator.progress import Advance, warn
from bakeoff.orchestrator.project import Project
from bakeoff.run.cluster import RayCluster
from bakeoff.run.machine.lock import measuring

# How often it is looked whether nodes are there.
LOOK_S = 5.0


class Crew(Protocol):
    """Measures units; each is handed in, and collected when its future is done."""

    @property
    def n_places(self) -> int:
        """How many units are measured at once."""
        ...

    def count_steps(self, unit: Unit) -> int:
        """How often ``advance`` will be told of a unit, at least."""
        ...

    def submit(self, unit: Unit, advance: Advance) -> Future[object]:
        """Let a unit be measured."""
        ...

    def collect(self, unit: Unit, future: Future[object], advance: Advance) -> None:
        """See to it that what became of a unit is on this disk.

        Raises:
            NodeLostError: Whoever measured it is gone; nothing is known of it.
        """
        ...

    def look(self) -> None:
        """See whether there still is somebody who measures.

        Raises:
            ClusterError: There is nobody.
        """
        ...


class LocalCrew:
    """This thread: what is submitted is done when ``submit`` returns."""

    n_places = 1

    def __init__(self, project: Project, champions: Mapping[str, Champion], share: Share) -> None:
        self._project = project
        self._champions = champions
        self._share = share
        self._executor: Executor = InThisThread()

    def count_steps(self, unit: Unit) -> int:
        """One for each process that measures."""
        return count_steps(unit)

    def submit(self, unit: Unit, advance: Advance) -> Future[object]:
        """Measure it."""
        return self._executor.submit(measure_unit, self._project, unit, self._champions, self._share, advance)

    def collect(self, unit: Unit, future: Future[object], advance: Advance) -> None:
        """All is on this disk."""
        del unit, advance
        future.result()

    def look(self) -> None:
        """We are here."""


class NodeCrew:
    """The nodes of a cluster; the cluster says which of them is free."""

    def __init__(
        self, project: Project, cluster: RayCluster, champions: Mapping[str, Champion], share: Share
    ) -> None:
        self._project = project
        self._cluster = cluster
        self._champions = champions
        self._share = share
        self._nodes = ask_nodes(project, cluster)
        self._executors = [cluster.open_executor(self._nodes)]
        self._received: set[tuple[str, int]] = set()
        self._looked_s = time.monotonic()

    @property
    def n_places(self) -> int:
        """One for each job that the resources of the nodes are for."""
        return sum(each.slots for each in self._nodes)

    def count_steps(self, unit: Unit) -> int:
        """A node is heard of when it is done."""
        del unit
        return 1

    def submit(self, unit: Unit, advance: Advance) -> Future[object]:
        """Send it to whichever node is free."""
        del advance
        champions, received = tuple(self._champions.values()), sorted(self._received)
        assignment = assign(self._project, unit, champions, received)
        return self._executors[-1].submit(node.carry_out, assignment.model_dump_json())

    def collect(self, unit: Unit, future: Future[object], advance: Advance) -> None:
        """Store what was sent; the node forgets it when it next hears from us."""
        outcomes = self._share.outcomes
        try:
            delivery = future.result()
        except NodeLostError:
            self._look_for_nodes()
            raise
        except WorkerError as error:
            for planned in unit:
                if planned.action == "measure":
                    outcomes.fail(self._project, planned, error)
            return
        received = receive(self._project, unit, delivery, outcomes)
        for line in self._describe(unit, received) if received else ():
            self._project.progress.say(line)
        self._received |= {(planned.job.key_digest, planned.attempt) for planned in unit}
        advance(f"{len(unit)} jobs, {unit[-1].job.label}")

    def look(self) -> None:
        """See now and then whether a node is left: work for nodes that are gone would wait for ever."""
        if time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            if not self._cluster.count_alive([each.node_id for each in self._nodes]):
                self._executors[-1].shutdown()  # what waits for these nodes is lost, and submitted anew
                self._look_for_nodes()

    def close(self) -> None:
        """End what runs, and let all nodes forget what is on this disk."""
        for executor in self._executors:
            executor.shutdown()
        for each in self._nodes if self._received else ():
            with suppress(ClusterError):
                self._cluster.ask(each, node.forget, self._project.results.token, sorted(self._received))

    def _describe(self, unit: Unit, received: Delivery) -> Iterator[str]:
        yield from received.said
        names = {each.node_id: each.name for each in self._nodes}
        where = f"node {names.get(received.node_id, received.node_id)}"
        yield f"{unit[-1].job.label}: {len(unit)} jobs on {where} took {received.wall_s:.1f} s"

    def _look_for_nodes(self) -> None:
        self._nodes = find_new_nodes(self._project, self._cluster, self._nodes)
        self._executors.append(self._cluster.open_executor(self._nodes))


@contextmanager
def open_crew(
    project: Project, champions: Sequence[Champion], share: Share
) -> Iterator[LocalCrew | NodeCrew]:
    """Whoever measures for a project.

    Raises:
        ClusterError: The cluster does not answer, or has nothing of what is asked for.
        ConfigError: Its nodes cannot run what is asked for, or are not alike.
    """
    by_run, cluster = {champion.run_id: champion for champion in champions}, project.cluster
    if cluster is None:
        with measuring(warn):
            yield LocalCrew(project, by_run, share)
        return
    with cluster.connected():
        crew = NodeCrew(project, cluster, by_run, share)
        try:
            yield crew
        finally:
            crew.close()


@contextmanager
def reaching_nodes(project: Project) -> Iterator[None]:
    """Stay connected to the cluster, if there is one; first fetch what an earlier command left on its nodes.

    A command that died has left there what its nodes had finished.

    Raises:
        ClusterError: The cluster does not answer, or has nothing of what is asked for.
        ConfigError: Its nodes cannot run what is asked for, or are not alike.
    """
    if project.cluster is None:
        yield
        return
    with project.cluster.connected():
        for each in ask_nodes(project, project.cluster):
            if each.holds:
                _fetch(project, project.cluster, each)
        yield


def _fetch(project: Project, cluster: RayCluster, where: Node) -> None:
    token, results = project.results.token, project.results
    delivery = Delivery.model_validate(cluster.ask(where, node.hand_over, token))
    for packed in delivery.attempts:
        if results.holds(packed.key_digest, packed.number):
            continue
        try:
            attempt = unpack(packed)
        except DataError as error:
            project.progress.say(f"node {where.name}: left out: {error}")
            continue
        results.store(attempt, is_forced=packed.is_forced)
        project.progress.say(f"{attempt.job.label}: fetched from node {where.name}, measured earlier")
    cluster.ask(where, node.forget, token, [(each.key_digest, each.number) for each in delivery.attempts])


P = ParamSpec("P")
T = TypeVar("T")


class InThisThread(Executor):
    """Calls what is submitted at once, in the thread that submits it: nothing of ours runs beside it."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function; the future is done when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whoever asks the future for its result gets it
            future.set_exception(error)
        return future
