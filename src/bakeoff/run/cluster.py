"""A Ray cluster: its nodes, and an executor that runs work on them. Only this module imports ray."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from bakeoff.core.config.execution import Node, RayExecution
from bakeoff.errors import BakeoffError, ClusterError, MissingExtraError, NodeLostError, WorkerError
from bakeoff.record import Record

P = ParamSpec("P")
T = TypeVar("T")

AUTH_MODE_VARIABLE = "RAY_AUTH_MODE"
# Our messages are small, so this is the least that Ray accepts.
OBJECT_STORE_BYTES = 100 * 1024 * 1024
LOOK_S = 0.5
DETAIL_CHARS = 2000
_NODE_ID = "ray.io/node-id"
_GPU = "GPU"


class Listed(Record):
    """A node as the cluster lists it.

    Attributes:
        name: Host and first characters of the id, to show.
        slots: Number of jobs that its resources allow.
    """

    node_id: str
    name: str
    slots: int


class RayCluster:
    """A Ray cluster, connected inside ``connected``; an earlier connection of the process stays open.

    Args:
        settings: Address of the cluster and resources of one job.

    Attributes:
        nodes: Nodes chosen to measure; None before they were asked.
    """

    def __init__(self, settings: RayExecution) -> None:
        self.settings = settings
        self.nodes: tuple[Node, ...] | None = None
        self._depth = 0

    @property
    def shown_address(self) -> str:
        """Address to show."""
        return self.settings.address or "of this machine alone"

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Stay connected; may be entered again inside.

        Ray prints events of nodes on stdout. Users expect results there, so these lines go to stderr.
        """
        if self._depth == 0:
            auth_mode = os.environ.get(AUTH_MODE_VARIABLE)
            with _keeping_sigterm():
                is_ours = self._connect()
        self._depth += 1
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            self._depth -= 1
            if self._depth == 0 and is_ours:
                import ray

                ray.shutdown()
                # A cluster of this machine alone has set it; child processes may use another one.
                if auth_mode is None:
                    os.environ.pop(AUTH_MODE_VARIABLE, None)

    def list_nodes(self) -> list[Listed]:
        """List the nodes with the resources of one job; wait for the first one.

        Raises:
            ClusterError: No node has them after ``wait_s`` seconds.
        """
        deadline = time.monotonic() + self.settings.wait_s
        while not (found := [node for node in self._alive() if self._slots(node)]):
            if time.monotonic() >= deadline:
                raise self._nothing_there()
            time.sleep(LOOK_S)
        return [
            Listed(
                node_id=node["NodeID"],
                name=f"{node['NodeManagerHostname']} ({node['NodeID'][:8]})",
                slots=self._slots(node),
            )
            for node in found
        ]

    def count_alive(self, node_ids: Sequence[str]) -> int:
        """Count the nodes in a list that are still alive."""
        return len({node["NodeID"] for node in self._alive()} & set(node_ids))

    def ask(self, node: Listed | Node, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function on a node, also during a measurement there; it must be short."""
        with RayExecutor([node.node_id], resources={}, gpus=0) as executor:
            try:
                return executor.submit(function, *args, **kwargs).result(self.settings.wait_s)
            except TimeoutError:
                found = f"node {node.name} gave no answer within {self.settings.wait_s:g} s"
            except WorkerError as error:
                found = f"node {node.name} cannot answer: {error.reason}"
        fix = "install bakeoff there, in the same version and for the same Python"
        raise ClusterError(self.shown_address, found=found, fix=fix)

    def open_executor(self, nodes: Sequence[Node]) -> RayExecutor:
        """Open an executor on some nodes; each call holds the resources of one job."""
        resources = {self.settings.resource: 1.0}
        return RayExecutor([node.node_id for node in nodes], resources=resources, gpus=self.settings.gpus)

    def _connect(self) -> bool:
        """Connect, and return whether this call opened the connection."""
        # Nothing leaves the cluster; ray reads this variable at import.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ModuleNotFoundError:
            raise MissingExtraError("benchmark.execution of kind ray", library="ray", extra="ray") from None
        if ray.is_initialized():
            return False
        settings = self.settings
        try:
            if settings.address is None:
                ray.init(
                    address="local",
                    resources={settings.resource: 1.0},
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _node_ip_address="127.0.0.1",
                )
            else:
                self._probe(settings.address)
                ray.init(address=settings.address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, AssertionError, ray.exceptions.RayError) as error:
            raise self._unreachable(str(error)) from error
        except ImportError as error:  # ray:// without grpcio
            raise MissingExtraError("a ray:// address", library=str(error.name), extra="ray") from None
        return True

    def _probe(self, address: str) -> None:
        """Connect to the port first: ray itself would wait for minutes."""
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host:  # auto
            return
        deadline = time.monotonic() + self.settings.wait_s
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=self.settings.wait_s).close()
            except (OSError, OverflowError) as error:
                if time.monotonic() >= deadline or isinstance(error, OverflowError | socket.gaierror):
                    raise
                time.sleep(LOOK_S)
            else:
                return

    def _alive(self) -> list[dict[str, Any]]:
        import ray

        listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return [node for node in listed if node["Alive"]]

    def _slots(self, node: Mapping[str, Any]) -> int:
        offered = node["Resources"]
        slots = int(offered.get(self.settings.resource, 0))
        if self.settings.gpus:
            slots = min(slots, int(offered.get(_GPU, 0)) // self.settings.gpus)
        return slots

    def _nothing_there(self) -> ClusterError:
        settings = self.settings
        wanted = f"{settings.resource}: 1" + (f", {_GPU}: {settings.gpus}" if settings.gpus else "")
        shown = [
            ", ".join(
                f"{name}: {amount:g}"
                for name, amount in sorted(node["Resources"].items())
                if not name.startswith("node:") and "memory" not in name
            )
            or "nothing"
            for node in self._alive()
        ]
        return ClusterError(
            self.shown_address,
            found=f"after {settings.wait_s:g} s no node has {{{wanted}}}; the nodes have "
            + (", ".join(f"{{{each}}}" for each in shown) or "nothing"),
            fix=f"start nodes with `ray start --resources='{{\"{settings.resource}\": 1}}'`, or correct "
            "benchmark.execution",
        )

    def _unreachable(self, found: str) -> ClusterError:
        lines = [line.strip() for line in found.splitlines() if line.strip()]
        return ClusterError(
            self.shown_address,
            found=f"cannot be reached: {(lines or ['no reason was given'])[0][:300]}",
            fix="check the address, RAY_AUTH_MODE and `ray status` there; nothing was measured",
        )


def find_node_id() -> str:
    """Return the id of the node that runs this process; empty outside a cluster."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


class RayExecutor(Executor):
    """Executor that runs each call on one of some nodes; ray retries nothing, since bakeoff counts attempts.

    A future's error is NodeLostError if the node or its process was lost, else WorkerError.

    Args:
        node_ids: Nodes to use.
        resources: Resources that each running call holds. It takes no CPU: workers size themselves.
        gpus: GPUs that each running call holds.
    """

    def __init__(self, node_ids: Sequence[str], *, resources: Mapping[str, float], gpus: int) -> None:
        self._options: dict[str, Any] = {
            "num_cpus": 0,
            "num_gpus": gpus,
            "resources": dict(resources),
            "max_retries": 0,
            "label_selector": {_NODE_ID: f"in({','.join(node_ids)})"},
        }
        self._running: dict[Future[Any], Any] = {}

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function of an installed module on one of the nodes."""
        import ray

        reference = ray.remote(**self._options)(fn).remote(*args, **kwargs)
        future: Future[T] = Future()
        self._running[future] = reference
        reference.future().add_done_callback(partial(self._settle, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all running calls: no caller waits for their results."""
        del wait, cancel_futures
        import ray

        for future, reference in list(self._running.items()):
            if not future.done():
                with suppress(ray.exceptions.RayError, ValueError):
                    ray.cancel(reference, force=True)

    def _settle(self, future: Future[Any], answer: Future[Any]) -> None:
        self._running.pop(future, None)
        error = answer.exception()
        if error is None:
            future.set_result(answer.result())
        else:
            future.set_exception(_translate(error))


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM, if there is one: ray sets its own, which exits with another code."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _translate(error: BaseException) -> BakeoffError:
    import ray

    text = str(error).strip()
    if isinstance(error, ray.exceptions.RayTaskError):
        cause = error.cause
        return WorkerError(f"{type(cause).__name__}: {cause}", detail=text[-DETAIL_CHARS:])
    kind = type(error).__name__
    return NodeLostError(f"the node was lost ({kind})", detail=text[:DETAIL_CHARS])
