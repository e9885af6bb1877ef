"""Hardware in the benchmark keys: that of this machine, or of the nodes of a cluster."""

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
from bakeoff.core.job import Hardware
from bakeoff.core.records import AnyModel
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.disk.inputs import MAX_RECORD_BYTES, read_regular
from bakeoff.errors import ClusterError, ConfigError, UserError
from bakeoff.measure.backends import Backend, OnnxRuntime, PyFunc, Python
from bakeoff.measure.model.session import ModelKind
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.plural import count
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
    """Hardware of the nodes when they were last asked, on disk, so that deciding needs no cluster."""

    hardware: Hardware


def find_hardware(project: Project) -> Hardware:
    """Find the hardware that would measure now.

    Raises:
        ClusterError: The cluster does not answer, or no node fits the settings.
        ConfigError: The hardware cannot run the settings, or nodes are different.
    """
    if project.cluster is None:
        return examine_machine(project.settings.benchmark)
    return ask_nodes(project, project.cluster)[0].hardware


def recall_hardware(project: Project) -> Hardware:
    """Return the hardware that measured last; ask the nodes of a cluster only if they never were asked."""
    cluster = project.cluster
    if cluster is None or cluster.nodes is not None:
        return find_hardware(project)
    try:
        seen = SeenHardware.model_validate_json(read_regular(_seen_path(project), MAX_RECORD_BYTES)).hardware
    except (OSError, ValidationError):
        return find_hardware(project)
    return seen if cluster.settings.hardware in {None, seen.label} else find_hardware(project)


def examine_machine(settings: BenchmarkSettings) -> Hardware:
    """Describe this machine as the measured processes see it.

    Raises:
        ConfigError: A runtime asks for more threads than this process may use, or ``cpus`` for other CPUs.
        MissingExtraError: A runtime's library is not installed.
    """
    _refuse_foreign_cpus(settings.cpus)
    hardware = detect_hardware(settings.cpus)
    for runtime in settings.runtimes:
        runtime.require_installed()
        fix_threads(runtime, hardware)
    return hardware


def fix_threads(runtime: Backend, hardware: Hardware) -> Backend:
    """Return a runtime with its number of threads.

    Raises:
        ConfigError: It asks for more threads than this process may use.
    """
    if runtime.threads is not None and runtime.threads > hardware.usable_cpus:
        fault = (
            f"benchmark.runtimes: {runtime.label} asks for {count(runtime.threads, 'thread')}; this process "
            f"may use {count(hardware.usable_cpus, 'CPU')}; lower threads, or set it to null"
        )
        raise ConfigError([fault])
    return runtime.replace(threads=runtime.threads or default_threads(hardware))


def choose_runtimes(runtimes: Sequence[Backend], model: AnyModel, hardware: Hardware) -> tuple[Backend, ...]:
    """Choose the runtimes that load a model, with their threads.

    A given graph runs in each runtime that runs graphs. A model that reads rows, or a graph without such a
    runtime, gets its own runtime even if the settings do not list it.

    Args:
        runtimes: Runtimes of the settings.
        model: Model to measure.
        hardware: Hardware that the threads must fit.

    Raises:
        ConfigError: A runtime asks for more threads than this process may use.
        MissingExtraError: A library of a runtime that the settings do not list is not installed.
    """
    kind = model.loads_as
    if kind == "checkpoint":
        return tuple(fix_threads(runtime, hardware) for runtime in runtimes if runtime.runs == kind)
    given = [runtime.for_graph() if kind == "graph" else runtime for runtime in runtimes]
    able = [runtime for runtime in given if runtime is not None and runtime.runs == kind]
    if not able:
        own: dict[ModelKind, Backend] = {
            "graph": OnnxRuntime(precision="given"),
            "pyfunc": PyFunc(),
            "python": Python(),
        }
        able = [own[kind]]
        able[0].require_installed()
    return tuple(dict.fromkeys(fix_threads(runtime, hardware) for runtime in able))


def ask_nodes(project: Project, cluster: RayCluster) -> tuple[Node, ...]:
    """Return the nodes that measure for a project; ask them once for hardware and faults.

    Raises:
        ClusterError: The cluster does not answer, or no node fits the settings.
        ConfigError: The nodes cannot run the settings, or are different.
    """
    if cluster.nodes is None:
        with cluster.connected():
            described = [_ask(project, cluster, listed) for listed in cluster.list_nodes()]
        cluster.nodes = choose_nodes(described, cluster.settings.hardware, version("bakeoff"))
        hardware = cluster.nodes[0].hardware
        n_other = len(described) - len(cluster.nodes)
        project.progress.say(
            f"Ray cluster {cluster.shown_address}: measuring on {count(len(cluster.nodes), 'node')} of "
            f"{hardware.label}"
        )
        if n_other:
            warn(f"Ray cluster {cluster.shown_address}: skipped {count(n_other, 'other node')}")
        durable.write_json(_seen_path(project), SeenHardware(hardware=hardware).model_dump(mode="json"))
    return cluster.nodes


def find_new_nodes(project: Project, cluster: RayCluster, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Find nodes equal to the chosen ones after one was lost, including nodes that are new.

    Raises:
        ClusterError: No such node is left.
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
            fix="start nodes, and run the same command again (finished measurements are safe)",
        )
    return alike


def describe_node(token: str, settings: str) -> dict[str, Any]:
    """Describe this node, and why it cannot run the settings, if so; called on the node.

    Args:
        token: Token of the project.
        settings: Settings of the project, as JSON.
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
            f"tracking.uri: the nodes do not see the file {tracker.shown_uri}; use a server, or keep the "
            "file on a disk that all nodes share"
        )
    return {
        "release": version("bakeoff"),
        "hardware": detect_hardware(parsed.benchmark.cpus).model_dump(),
        "libraries": dict(record_environment().libraries),
        "faults": faults,
        "holds": ResultStore(node_folder(token) / "results").n_attempts,
    }


def node_folder(token: str) -> Path:
    """Return the folder of a project on this node; it holds the host's name, as hosts may share homes."""
    named = os.environ.get(FOLDER_VARIABLE)
    above = Path(named).absolute() if named else Path.home() / ".cache" / "bakeoff" / "nodes"
    return above / (platform.node() or "node") / digest_json(token)[:16]


def _ask(project: Project, cluster: RayCluster, listed: Listed) -> Node:
    settings = project.settings_for_nodes.model_dump_json()
    description = cluster.ask(listed, describe_node, project.results.token, settings)
    return Node.model_validate({**description, **listed.model_dump()})


def _seen_path(project: Project) -> Path:
    return project.results.folder / "hardware.json"


def _refuse_foreign_cpus(cpus: Sequence[int] | None) -> None:
    mine = usable_cpu_numbers()
    foreign = sorted(set(cpus or ()) - mine)
    if foreign and mine:
        fault = (
            f"benchmark.cpus: found {', '.join(map(str, foreign))}; this process may use "
            f"{', '.join(map(str, sorted(mine)))}; name some of these, or set null for all"
        )
        raise ConfigError([fault])
