"""Executors: the nodes of a cluster, and the results that they send."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from bakeoff.core.config.execution import Node
from bakeoff.errors import ClusterError, DataError, NodeLostError, UserError, WorkerError
from bakeoff.orchestrator.bench import node
from bakeoff.orchestrator.bench.claims import BenchClaims
from bakeoff.orchestrator.bench.messages import Delivery, assign, receive, unpack
from bakeoff.orchestrator.bench.work_units import WorkUnit
from bakeoff.orchestrator.hardware import ask_nodes, find_new_nodes
from bakeoff.orchestrator.progress import Advance, warn
from bakeoff.orchestrator.project import Project
from bakeoff.run.cluster import RayCluster

# How often this command checks that nodes are alive.
LOOK_S = 5.0


class NodeExecutor:
    """Executor of work units on the nodes of a cluster; the cluster chooses a free node."""

    def __init__(self, project: Project, cluster: RayCluster, claims: BenchClaims) -> None:
        self._project = project
        self._cluster = cluster
        self._claims = claims
        self._nodes = ask_nodes(project, cluster)
        self._executors = [cluster.open_executor(self._nodes)]
        self._received: set[tuple[str, int]] = set()
        self._looked_s = time.monotonic()

    @property
    def n_places(self) -> int:
        """Work units that the resources of all nodes can measure at once."""
        return sum(each.slots for each in self._nodes)

    def submit(self, unit: WorkUnit) -> Future[object]:
        """Send a work unit to a free node."""
        assignment = assign(self._project, unit, sorted(self._received))
        return self._executors[-1].submit(node.carry_out, assignment.model_dump_json())

    def collect(self, unit: WorkUnit, future: Future[object], advance: Advance) -> None:
        """Store the attempts that a node sent; the node removes its copy at the next contact.

        Raises:
            NodeLostError: The node is gone, and sent nothing.
        """
        outcomes = self._claims.outcomes
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
        for line in received.warned if received else ():
            warn(line)
        self._received |= {(planned.job.key_digest, planned.attempt) for planned in unit}
        advance(f"{len(unit)} jobs, {unit[-1].job.label}")

    def check_nodes(self) -> None:
        """Check from time to time that a node is alive: units for dead nodes would wait for ever.

        Raises:
            ClusterError: No node is left.
        """
        if time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            if not self._cluster.count_alive([each.node_id for each in self._nodes]):
                self._executors[-1].shutdown()  # what waits for these nodes is lost, and submitted again
                self._look_for_nodes()

    def close(self) -> None:
        """Stop all work, and let the nodes remove their copies of what is on this disk."""
        for executor in self._executors:
            executor.shutdown()
        for each in self._nodes if self._received else ():
            with suppress(ClusterError):
                self._cluster.ask(each, node.forget, self._project.results.token, sorted(self._received))

    def _describe(self, unit: WorkUnit, received: Delivery) -> Iterator[str]:
        yield from received.said
        names = {each.node_id: each.name for each in self._nodes}
        where = f"node {names.get(received.node_id, received.node_id)}"
        yield f"{unit[-1].job.label}: {len(unit)} jobs on {where} took {received.wall_s:.1f} s"

    def _look_for_nodes(self) -> None:
        self._nodes = find_new_nodes(self._project, self._cluster, self._nodes)
        self._executors.append(self._cluster.open_executor(self._nodes))


@contextmanager
def open_executor(project: Project, claims: BenchClaims) -> Iterator[NodeExecutor]:
    """Connect to the cluster of a project, and let its nodes measure.

    Raises:
        ClusterError: The cluster does not answer, or has no such resource.
        ConfigError: Its nodes cannot run a runtime, or differ.
        UserError: The project has no cluster.
    """
    cluster = project.cluster
    if cluster is None:
        raise UserError("benchmark.execution names no cluster")
    with cluster.connected():
        executor = NodeExecutor(project, cluster, claims)
        try:
            yield executor
        finally:
            executor.close()


@contextmanager
def reaching_nodes(project: Project) -> Iterator[None]:
    """Stay connected to the cluster, if there is one, and first fetch finished results from its nodes.

    A command that died may have left results there.

    Raises:
        ClusterError: The cluster does not answer, or has no such resource.
        ConfigError: Its nodes cannot run a runtime, or differ.
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
            warn(f"node {where.name}: skipped: {error}")
            continue
        results.store(attempt, is_forced=packed.is_forced)
        project.progress.say(f"{attempt.job.label}: fetched from node {where.name}, measured earlier")
    cluster.ask(where, node.forget, token, [(each.key_digest, each.number) for each in delivery.attempts])
