"""Whose hardware the keys speak of: this machine's, or that of the nodes of a cluster, which are asked."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bakeoff.core.config.execution import Node, choose_nodes
from bakeoff.core.config.settings import BenchmarkSettings, Settings
from bakeoff.core.records import Hardware
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.errors import ClusterError, ConfigError, UserError
from bakeoff.measure.backends import Backend
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.run.cluster import Listed, RayCluster
from bakeoff.run.machine.hardware import (
    default_threads,
    detect_hardware,
    record_environment,
    usable_cpu_numbers,
)
from bakeoff.stores.results.store import ResultStore
from bakeoff.stores.tracking import Tracker

FOLDER_VARIABLE = "BAKEOFF_NODE_FOLDER"


class SeenHardware(Record):
    """What the nodes were when they were last asked, on disk: who decides needs no cluster."""

    hardware: Hardware


def find_hardware(project: Project) -> Hardware:
    """The hardware that would be measured now.

    Raises:
        ClusterError: The cluster does not answer, or has nothing of what is asked for.
        ConfigError: What measures cannot run what is asked for, or nodes are not alike.
        MissingExtraError: A library is not installed.
    """
    if project.cluster is None:
        return examine_machine(project.settings.benchmark)
    return ask_nodes(project, project.cluster)[0].hardware


def recall_hardware(project: Project) -> Hardware:
    """The hardware that was measured last; of a cluster the nodes are only asked if they never were.

    Raises:
        BakeoffError: As ``find_hardware`` does.
    """
    cluster = project.cluster
    if cluster is None or cluster.nodes is not None:
        return find_hardware(project)
    try:
        seen = SeenHardware.model_validate_json(_seen_path(project).read_bytes()).hardware
    except (OSError, ValidationError):
        return find_hardware(project)
    return seen if cluster.settings.hardware in {None, seen.label} else find_hardware(project)


def examine_machine(settings: BenchmarkSettings) -> Hardware:
    """This machine as the processes that are measured see it.

    Raises:
        ConfigError: A runtime asks for more threads than this process may use, or ``cpus`` for others.
        MissingExtraError: A runtime's library is not installed.
    """
    _refuse_foreign_cpus(settings.cpus)
    hardware = detect_hardware(settings.cpus)
    for runtime in settings.runtimes:
        runtime.require_installed()
        fix_threads(runtime, hardware)
    return hardware


def fix_threads(runtime: Backend, hardware: Hardware) -> Backend:
    """A runtime with its number of threads.

    Raises:
        ConfigError: It asks for more than may be used.
    """
    if runtime.threads is not None and runtime.threads > hardware.usable_cpus:
        fault = (
            f"benchmark.runtimes: {runtime.label} asks for {runtime.threads} threads; this process may use "
            f"{hardware.usable_cpus} CPUs; lower threads or leave it null"
        )
        raise ConfigError([fault])
    return runtime.model_copy(update={"threads": runtime.threads or default_threads(hardware)})


def ask_nodes(project: Project, cluster: RayCluster) -> tuple[Node, ...]:
    """The nodes that measure for a project; they are asked once, what they are and whether they can.

    Raises:
        ClusterError: The cluster does not answer, or has nothing of what is asked for.
        ConfigError: They cannot run what is asked for, or are not alike.
    """
    if cluster.nodes is None:
        with cluster.connected():
            described = [_ask(project, cluster, listed) for listed in cluster.list_nodes()]
        cluster.nodes = choose_nodes(described, cluster.settings.hardware, version("bakeoff"))
        hardware = cluster.nodes[0].hardware
        left = len(described) - len(cluster.nodes)
        project.progress.say(
            f"Ray cluster {cluster.shown_address}: {len(cluster.nodes)} nodes of {hardware.label} measure"
            + (f"; {left} of other kinds do not" if left else "")
        )
        durable.write_json(_seen_path(project), SeenHardware(hardware=hardware).model_dump(mode="json"))
    return cluster.nodes


def find_new_nodes(project: Project, cluster: RayCluster, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Nodes like those that were chosen, where one was lost: the ones that are left, and any that came.

    Raises:
        ClusterError: None is left within the time that the settings say.
    """
    like, known = nodes[0], {node.node_id: node for node in nodes}
    found = [known.get(each.node_id) or _ask(project, cluster, each) for each in cluster.list_nodes()]
    alike = tuple(
        node
        for node in found
        if (node.hardware, node.libraries, node.release) == (like.hardware, like.libraries, like.release)
        and not node.faults
    )
    if not alike:
        raise ClusterError(
            cluster.shown_address,
            found=f"all nodes of {like.hardware.label} are gone",
            fix="what was measured is safe; start nodes, and run the same command again",
        )
    return alike


def describe_node(token: str, settings: str) -> dict[str, Any]:
    """What this node is, and whether it can run what the settings ask for; called on the node.

    Args:
        token: Of the project.
        settings: As JSON.
    """
    parsed = Settings.model_validate_json(settings)
    faults = []
    try:
        examine_machine(parsed.benchmark)
    except UserError as error:
        faults.append(str(error))
    tracker = Tracker(parsed.tracking.uri)
    if not tracker.is_there:
        faults.append(
            f"tracking.uri: {tracker.shown_uri} is a file that the nodes do not see; keep runs on a server, "
            "or the file on a disk that all nodes share"
        )
    return {
        "release": version("bakeoff"),
        "hardware": detect_hardware(parsed.benchmark.cpus).model_dump(),
        "libraries": dict(record_environment().libraries),
        "faults": faults,
        "holds": ResultStore(node_folder(token) / "results").n_attempts,
    }


def node_folder(token: str) -> Path:
    """Where this node keeps a project: below its host's name, since home folders are shared by many hosts."""
    named = os.environ.get(FOLDER_VARIABLE)
    above = Path(named).absolute() if named else Path.home() / ".cache" / "bakeoff" / "nodes"
    return above / (platform.node() or "node") / digest_json(token)[:16]


def _ask(project: Project, cluster: RayCluster, listed: Listed) -> Node:
    settings = project.settings_for_nodes.model_dump_json()
    told = cluster.ask(listed, describe_node, project.results.token, settings)
    return Node.model_validate({**told, **listed.model_dump()})


def _seen_path(project: Project) -> Path:
    return project.results.folder / "hardware.json"


def _refuse_foreign_cpus(cpus: Sequence[int] | None) -> None:
    mine = usable_cpu_numbers()
    foreign = sorted(set(cpus or ()) - mine)
    if foreign and mine:
        fault = (
            f"benchmark.cpus: found {', '.join(map(str, foreign))}; this process may use "
            f"{', '.join(map(str, sorted(mine)))}; name some of these, or null for all"
        )
        raise ConfigError([fault])
