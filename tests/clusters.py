"""A Ray cluster of node processes on this machine, each with the lock and the folder of a machine.

Used by the tests and by ``benchmarks/ray_nodes.py``.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from bakeoff.orchestrator import Project, bench, open_project
from bakeoff.orchestrator.hardware import FOLDER_VARIABLE
from bakeoff.run.machine.lock import LOCK_VARIABLE

SLOT = "bakeoff_slot"
OBJECT_STORE_BYTES = 80 * 1024 * 1024
PATIENCE_S = 300.0


@dataclass
class NodeProcess:
    """A node: ray's processes, and the folder in which it plays a machine of its own."""

    name: str
    folder: Path
    process: Any
    is_alive: bool = True

    def find(self, pattern: str) -> list[Path]:
        """What lies in its folder."""
        return sorted(self.folder.glob(f"machine/*/*/{pattern}"))

    @property
    def is_measuring(self) -> bool:
        """Whether somebody holds the lock of the machine that it plays."""
        path = self.folder / "lock"
        if not path.is_file():
            return False  # nobody ever measured there
        with path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def wait_until_idle(nodes: Sequence[NodeProcess]) -> None:
    """Wait until nobody measures on any node.

    Raises:
        RuntimeError: Somebody does not end.
    """
    deadline = time.monotonic() + PATIENCE_S
    while any(node.is_measuring for node in nodes):
        if time.monotonic() > deadline:
            raise RuntimeError("somebody still measures")
        time.sleep(0.05)


@dataclass
class Nodes:
    """A cluster whose head measures nothing, and nodes with a slot each.

    Args:
        folder: For locks and folders of the nodes.
    """

    folder: Path
    nodes: dict[str, NodeProcess] = field(default_factory=dict)

    def __enter__(self) -> Self:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._add(include_dashboard=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()  # type: ignore[no-untyped-call]

    @property
    def address(self) -> str:
        """Of the head."""
        return str(self._cluster.address)

    def start(self, name: str, **resources: float) -> NodeProcess:
        """Start a node; with a slot, unless it is told what it has."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        process = self._add(
            resources=resources or {SLOT: 1},
            env_vars={LOCK_VARIABLE: str(folder / "lock"), FOLDER_VARIABLE: str(folder / "machine")},
        )
        self.nodes[name] = NodeProcess(name, folder, process)
        return self.nodes[name]

    def _add(self, **settings: Any) -> Any:
        # Ray itself would wait for half a minute and no more.
        process = self._cluster.add_node(
            wait=False, num_cpus=0, object_store_memory=OBJECT_STORE_BYTES, **settings
        )
        self._cluster.wait_for_nodes(PATIENCE_S)
        return process

    def kill(self, name: str) -> None:
        """Kill all processes of a node at once."""
        node = self.nodes[name]
        self._cluster.remove_node(node.process, allow_graceful=False)
        node.is_alive = False

    def overrides(self, *more: str) -> Sequence[str]:
        """Settings that measure here."""
        return (f"benchmark.execution={{kind: ray, address: '{self.address}', wait_s: 300}}", *more)


@dataclass(frozen=True)
class Command:
    """A bench of a project, in a process of its own."""

    config: Path
    overrides: Sequence[str]

    def open(self) -> Project:
        """The project."""
        return open_project(self.config, self.overrides)

    def start(self) -> BaseProcess:
        """Start it."""
        process = multiprocessing.get_context("spawn").Process(target=_bench, args=(self,))
        process.start()
        return process


def _bench(command: Command) -> None:
    bench(command.open())


def wait_for_any(nodes: Sequence[NodeProcess], pattern: str, command: BaseProcess) -> NodeProcess:
    """Wait until a file appears on a node that is alive; returns the node.

    Raises:
        RuntimeError: None did, or the command ended.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and command.is_alive():
        for node in nodes:
            if node.is_alive and node.find(pattern):
                return node
        time.sleep(0.02)
    raise RuntimeError(f"no node has {pattern}; the command's exit code is {command.exitcode}")


def list_attempts(results: Path) -> list[tuple[str, int, bool]]:
    """Key digest, number, and whether it was measured, of each attempt on a disk."""
    return [
        (path.parent.name, int(path.stem), "readings" in json.loads(path.read_bytes()))
        for path in sorted(results.glob("jobs/*/*.json"))
    ]
