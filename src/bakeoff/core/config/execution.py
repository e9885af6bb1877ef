"""Execution: this machine, or the nodes of a Ray cluster, and the choice among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from bakeoff.core.identity import flatten
from bakeoff.core.job import Hardware
from bakeoff.errors import ConfigError
from bakeoff.record import Record

MOST_DIFFERENCES = 5


class LocalExecution(Record):
    """This machine, one job at a time."""

    kind: Literal["local"] = "local"


class RayExecution(Record):
    """Nodes of a Ray cluster, one job at a time on each.

    Attributes:
        address: ``auto`` for the cluster that this machine belongs to, ``HOST:PORT`` of its head, or
            ``ray://HOST:PORT`` from outside. Null starts a cluster of this machine alone.
        resource: Ray resource of which every job takes one; bakeoff measures only on nodes that have it.
        gpus: GPUs that every job takes as well.
        hardware: Hardware label of the nodes to measure on, if the cluster has several kinds of nodes; null
            if all nodes are of one kind.
        wait_s: Seconds to wait for the cluster, and for a node with the requested resources.
        split_heats: Whether idle nodes may take a part of a heat, together with the reference. This is
            faster, but intervals between candidates of different parts are wider.
    """

    kind: Literal["ray"]
    address: Annotated[str, Field(pattern=r"^(auto|(ray://)?[A-Za-z0-9._-]+:\d{1,5})$")] | None = None
    resource: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")] = "bakeoff_slot"
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    hardware: str | None = None
    wait_s: Annotated[float, Field(gt=0, le=86400)] = 60.0
    split_heats: bool = True


Execution = Annotated[LocalExecution | RayExecution, Field(discriminator="kind")]


class Node(Record):
    """Machine that can measure, as it described itself.

    Attributes:
        node_id: Ray's id of the node.
        name: Host name, for messages.
        slots: Jobs that the cluster runs on it at once.
        release: Version of bakeoff on the node.
        libraries: Versions by distribution name, including Python.
        faults: Reasons why it cannot run the jobs.
        holds: Attempts of this project on its disk that were not fetched yet.
    """

    node_id: str
    name: str
    slots: int = 1
    release: str
    hardware: Hardware
    libraries: Mapping[str, str]
    faults: tuple[str, ...] = ()
    holds: int = 0


def choose_nodes(nodes: Sequence[Node], wanted: str | None, release: str) -> tuple[Node, ...]:
    """Return the nodes that share a plan: they agree in all that decides the numbers.

    Args:
        nodes: At least one.
        wanted: Hardware label; None if all nodes are of one kind.
        release: Version of bakeoff on this machine.

    Raises:
        ConfigError: No single kind of hardware is chosen, its nodes differ, or they cannot run the jobs.
    """
    labels = sorted({node.hardware.label for node in nodes})
    chosen = [node for node in nodes if wanted in {None, node.hardware.label}]
    if not chosen or (wanted is None and len(labels) > 1):
        counts = Counter(node.hardware.label for node in nodes)
        found = ", ".join(f"{counts[label]} × {label!r}" for label in labels)
        what = "the nodes are of several kinds" if wanted is None else f"no node has {wanted!r}"
        raise ConfigError([f"benchmark.execution.hardware: {what} ({found}); set one of these"])
    if different := list(_find_unlike(chosen, release)):
        raise ConfigError(different)
    if faults := dict.fromkeys(fault for node in chosen for fault in node.faults):
        raise ConfigError(list(faults))
    return tuple(chosen)


def _find_unlike(nodes: Sequence[Node], release: str) -> Iterator[str]:
    """Find each node that differs from the first, or runs a different version of bakeoff."""
    for node in nodes:
        if node.release != release:
            found = f"node {node.name} runs bakeoff {node.release}, this machine runs {release}"
            yield f"benchmark.execution: {found}; install the same version on every node"
        elif differences := _find_differences(nodes[0], node):
            found = f"nodes {nodes[0].name} and {node.name} differ in {'; '.join(differences)}"
            yield f"benchmark.execution: {found}; make them equal, or start one without the resource"


def _find_differences(one: Node, other: Node) -> list[str]:
    ours, theirs = (
        flatten({"hardware": node.hardware.model_dump(mode="json"), "libraries": dict(node.libraries)})
        for node in (one, other)
    )
    found = [
        f"{name} ({ours.get(name, 'none')}, {theirs.get(name, 'none')})"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    return found[:MOST_DIFFERENCES]
