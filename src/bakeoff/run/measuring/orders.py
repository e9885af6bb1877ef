"""Orders and outcomes as records, and their execution in fresh processes."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from bakeoff.core.job import Environment
from bakeoff.disk import durable
from bakeoff.errors import WorkerError
from bakeoff.measure.backends import Backend, TensorBackend
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Scenario, Timed, Untimed
from bakeoff.measure.statistics.readings import Reading
from bakeoff.measure.tasks import Document, Task, TokenClassification
from bakeoff.record import Record
from bakeoff.run.machine import processes

ORDER_FILE = "order.json"
OUTCOME_FILE = "outcome.json"
WORKER = "bakeoff.run.measuring.worker"
# How Python, PyTorch, ONNX Runtime and C++ say that memory was refused.
_OUT_OF_MEMORY = re.compile(
    r"MemoryError|bad_?alloc|[Cc]an(no|')t allocate memory|[Ff]ailed to allocate|bad allocation"
)


class PrepareOrder(Record):
    """Order to make the files that a backend runs from a checkpoint, and to check them.

    Attributes:
        documents: Documents on which outputs are compared.
        max_length: Tokens after which the measurement cuts a document.
    """

    kind: Literal["prepare"] = "prepare"
    runtime: TensorBackend = Field(discriminator="kind")
    checkpoint: Path
    checkpoint_digest: str
    destination: Path
    task: Task = TokenClassification()
    documents: tuple[Document, ...]
    max_length: int
    memory_limit_bytes: int | None = None


class MeasureOrder(Record):
    """Order to measure one scenario in one fresh process, as one repeat of a job.

    Attributes:
        lengths: Length of each document, in any unit. Equal lengths give all candidates of a heat the same
            order of inputs. None means lengths in words.
        cpus: CPUs on which the process may run; None means ours.
        memory_limit_bytes: Most that it may allocate, in bytes; None sets no limit.
    """

    runtime: Backend
    scenario: Scenario
    checkpoint: Path
    checkpoint_digest: str
    prepared: Path | None
    task: Task = TokenClassification()
    documents: tuple[Document, ...]
    max_length: int
    repeat: int
    lengths: tuple[int, ...] | None = None
    cpus: tuple[int, ...] | None = None
    memory_limit_bytes: int | None = None


class UntimedOrder(MeasureOrder):
    """Order to measure a scenario in which nothing is timed."""

    kind: Literal["untimed"] = "untimed"
    scenario: Untimed


class TimedOrder(MeasureOrder):
    """Order to measure a timed scenario.

    Attributes:
        protocol: Timing settings.
    """

    kind: Literal["timed"] = "timed"
    scenario: Annotated[Timed, Field(discriminator="kind")]
    protocol: TimingProtocol


Order = Annotated[PrepareOrder | TimedOrder | UntimedOrder, Field(discriminator="kind")]


class Done(Record):
    """A whole outcome.

    Attributes:
        n_truncated: Documents that were cut.
        facts: Facts that the runtime reports about itself.
    """

    kind: Literal["done"] = "done"
    readings: tuple[Reading, ...] = ()
    environment: Environment
    n_truncated: int = 0
    facts: Mapping[str, str] = {}


class Failed(Record):
    """An error that the worker caught and recorded."""

    kind: Literal["failed"] = "failed"
    error: str
    message: str
    is_user_error: bool

    @property
    def text(self) -> str:
        """Text to show."""
        return self.message if self.is_user_error else f"{self.error}: {self.message}"


Outcome: TypeAdapter[Done | Failed] = TypeAdapter(Annotated[Done | Failed, Field(discriminator="kind")])


def run_in_fresh_process(
    order: PrepareOrder | MeasureOrder,
    folder: Path,
    timeout_s: float,
    worker: str = WORKER,
    *,
    on_wait: Callable[[], None] | None = None,
) -> Done:
    """Carry out an order in a new interpreter and return its outcome.

    A folder that already holds the whole outcome of this very order gives the answer.

    Args:
        order: The order.
        folder: Folder for the order, its outcome and the output of the process.
        timeout_s: Time after which the process and its children are killed.
        worker: Module that the process runs; its arguments are the folder and our process id.
        on_wait: Called about once a second meanwhile; it must be short.
    """
    begun = _begin(order, folder, worker)
    if isinstance(begun, Done):
        return begun
    try:
        ended_in_time = processes.wait_for(begun, timeout_s, on_wait)
    finally:
        processes.end_process(begun, grace_s=0.0 if begun.returncode is not None else processes.GRACE_S)
    return _collect(begun, order, folder, timeout_s, ended_in_time=ended_in_time)


@dataclass(frozen=True)
class PendingOrder:
    """An order that may run at the same time as others, since nothing in it is timed.

    Attributes:
        folder: Folder for the order, its outcome and the output of the process.
        timeout_s: Time after which the process and its children are killed.
    """

    order: PrepareOrder | MeasureOrder
    folder: Path
    timeout_s: float


def run_side_by_side(
    pending: Sequence[PendingOrder],
    n_at_once: int,
    on_end: Callable[[int, Done | WorkerError, float], None],
    on_wait: Callable[[], None] | None = None,
    worker: str = WORKER,
) -> None:
    """Carry out orders in fresh processes, several at once; no extra thread waits for them.

    Args:
        pending: Orders in the order in which they begin.
        n_at_once: Most processes at once.
        on_end: Gets the number of each order, its outcome and the wall time of its process in s, as it ends.
        on_wait: Called about once a second while processes run; it must be short.
        worker: Module that the processes run.
    """
    waiting, running = deque(enumerate(pending)), dict[int, _Running]()
    try:
        while waiting or running:
            while waiting and len(running) < n_at_once:
                number, one = waiting.popleft()
                begun = _begin(one.order, one.folder, worker)
                if isinstance(begun, Done):
                    on_end(number, begun, 0.0)
                else:
                    running[number] = _Running(begun, one, time.monotonic())
            for number, ended_in_time in _wait_for_any(running, on_wait):
                process, one = running[number].process, running[number].pending
                wall_s = time.monotonic() - running[number].begin_s
                processes.end_process(process, grace_s=0.0 if ended_in_time else processes.GRACE_S)
                del running[number]
                outcome: Done | WorkerError
                try:
                    outcome = _collect(
                        process, one.order, one.folder, one.timeout_s, ended_in_time=ended_in_time
                    )
                except WorkerError as error:
                    outcome = error
                on_end(number, outcome, wall_s)
    finally:
        for each in running.values():
            processes.end_process(each.process, grace_s=0.0)


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[bytes]
    pending: PendingOrder
    begin_s: float


def _wait_for_any(
    running: Mapping[int, _Running], on_wait: Callable[[], None] | None
) -> list[tuple[int, bool]]:
    """Wait about a second; return each process that is over, and whether it ended by itself."""
    if running:
        processes.wait_for_any([each.process for each in running.values()], processes.CALL_S)
        if on_wait is not None:
            on_wait()
    over = []
    for number, each in running.items():
        if each.process.poll() is not None:
            over.append((number, True))
        elif time.monotonic() >= each.begin_s + each.pending.timeout_s:
            over.append((number, False))
    return over


def _begin(order: PrepareOrder | MeasureOrder, folder: Path, worker: str) -> subprocess.Popen[bytes] | Done:
    """Start the process of an order, unless its outcome is there."""
    wanted = order.model_dump_json().encode()
    if isinstance(order, MeasureOrder) and (earlier := _find_outcome(folder, wanted)):
        return earlier
    (folder / OUTCOME_FILE).unlink(missing_ok=True)
    durable.write_bytes(folder / ORDER_FILE, wanted)
    cpus = order.cpus if isinstance(order, MeasureOrder) else None
    words = (str(folder), str(os.getpid()))
    return processes.start_process(worker, words, folder, environment_for(order), cpus=cpus)


def _collect(
    process: subprocess.Popen[bytes],
    order: PrepareOrder | MeasureOrder,
    folder: Path,
    timeout_s: float,
    *,
    ended_in_time: bool,
) -> Done:
    tail = processes.read_tail(folder)
    if not ended_in_time:
        reason = f"no outcome after {timeout_s:g} s; set benchmark.timeout_s if it needs longer"
        raise WorkerError(reason, detail=tail)
    path, end = folder / OUTCOME_FILE, processes.describe_end(process)
    try:
        return _read_outcome(path, end, process.returncode, tail)
    except WorkerError as error:
        limit_bytes = order.memory_limit_bytes
        if limit_bytes is None or not _OUT_OF_MEMORY.search(f"{error.reason}\n{error.detail}"):
            raise
        more = f"the limit is {limit_bytes:,} bytes; set benchmark.memory_limit_bytes if it needs more"
        raise WorkerError(f"{error.reason}; {more}", detail=error.detail) from None


def environment_for(order: PrepareOrder | MeasureOrder) -> dict[str, str]:
    """Return the environment variables of an order.

    If nothing is timed, threads of OpenMP sleep while they wait for each other. Spinning gains nothing then,
    and on a machine with other work it made a call ten times slower.
    """
    is_timed = isinstance(order, TimedOrder)
    hash_seed = order.repeat if isinstance(order, MeasureOrder) else 0
    variables = processes.thread_environment(order.runtime.threads or 1, hash_seed)
    return variables if is_timed else {**variables, "OMP_WAIT_POLICY": "PASSIVE"}


def _find_outcome(folder: Path, order: bytes) -> Done | None:
    try:
        if (folder / ORDER_FILE).read_bytes() != order:
            return None
        outcome = Outcome.validate_json((folder / OUTCOME_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return outcome if isinstance(outcome, Done) else None


def _read_outcome(path: Path, end: str, returncode: int, tail: str) -> Done:
    if returncode < 0:
        raise WorkerError(end, detail=tail)
    try:
        outcome = Outcome.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise WorkerError(f"{end} and no outcome", detail=tail) from None
    except ValidationError:
        raise WorkerError(f"{end} and a broken outcome", detail=tail) from None
    if isinstance(outcome, Failed):
        raise WorkerError(outcome.text)
    return outcome
