"""Where jobs are measured: on this machine, or on the nodes of a Ray cluster, and on which of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from bakeoff.core.identity import flatten
from bakeoff.core.records import Hardware
from bakeoff.errors import ConfigError
from bakeoff.record import Record

MOST_DIFFERENCES = 5


class LocalExecution(Record):
    """Measure on this machine, one job at a time."""

    kind: Literal["local"] = "local"


class RayExecution(Record):
    """Measure on the nodes of a Ray cluster, one job at a time on each.

    Attributes:
        address: ``auto`` for the cluster of which this machine is a node, ``HOST:PORT`` of its head, or
            ``ray://HOST:PORT`` from outside; null starts a cluster of this machine alone.
        resource: Every job takes one of it; only nodes that were started with it measure.
        gpus: That every job takes beside it.
        hardware: Label of the hardware that is measured where nodes are of several kinds; null where they are
            all alike.
        wait_s: How long the cluster, and a node that has what is asked for, is waited for.
        split_heats: Whether the candidates of one heat may be measured on several nodes, each part beside the
            reference, where nodes would be idle. It is quicker, and the intervals between candidates of
            unlike parts are wider.
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
    """A machine that can measure, as it described itself.

    Attributes:
        node_id: Ray's.
        name: Host, for eyes.
        slots: Jobs that the cluster lets it run at once.
        release: Version of bakeoff there.
        libraries: Versions by distribution name, and Python's.
        faults: Why it cannot measure what is asked for.
        holds: Attempts of this project that lie on its disk and were not fetched.
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
    """The nodes that share a plan: alike in all that decides the numbers, so that anyone may run any job.

    Args:
        nodes: One at least.
        wanted: Label of the hardware; None where all are alike.
        release: Version of bakeoff that asks.

    Raises:
        ConfigError: Nodes are of several kinds and none is named, or none is of that which is; those of it
            differ in their libraries or versions; or they cannot run what is asked for.
    """
    labels = sorted({node.hardware.label for node in nodes})
    chosen = [node for node in nodes if wanted in {None, node.hardware.label}]
    if not chosen or (wanted is None and len(labels) > 1):
        counts = Counter(node.hardware.label for node in nodes)
        found = "; ".join(f"{counts[label]} of {label!r}" for label in labels)
        what = "nodes are of several kinds" if wanted is None else f"no node is of {wanted!r}"
        raise ConfigError([f"benchmark.execution.hardware: {what}: {found}; name one of these"])
    if unlike := list(_find_unlike(chosen, release)):
        raise ConfigError(unlike)
    if faults := dict.fromkeys(fault for node in chosen for fault in node.faults):
        raise ConfigError(list(faults))
    return tuple(chosen)


def _find_unlike(nodes: Sequence[Node], release: str) -> Iterator[str]:
    """A message for each node that is not like the first, or runs another bakeoff."""
    for node in nodes:
        if node.release != release:
            found = f"node {node.name} runs bakeoff {node.release}, this is {release}"
            yield f"benchmark.execution: {found}; install the same one on every node"
        elif differences := _find_differences(nodes[0], node):
            found = f"nodes {nodes[0].name} and {node.name} differ in {'; '.join(differences)}"
            yield f"benchmark.execution: {found}; make them alike, or start one without the resource"


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
