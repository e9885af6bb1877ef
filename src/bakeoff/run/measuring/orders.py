"""Orders and outcomes as records, and their execution in processes of their own."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from bakeoff.core.job import Environment
from bakeoff.disk import durable
from bakeoff.disk.sealed import open_sealed
from bakeoff.errors import WorkerError
from bakeoff.measure.backends import Backend, RowBackend, TensorBackend
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Scenario, Timed, Untimed
from bakeoff.measure.statistics.readings import Reading
from bakeoff.measure.tasks import Custom, Document, Task, TokenClassification
from bakeoff.record import AbsolutePath, Record
from bakeoff.run.machine import forks, processes

ORDER_FILE = "order.json"
OUTCOME_FILE = "outcome.json"
WORKER = "bakeoff.run.measuring.worker"
_TORCH = "torch"
# What a fork server imports for its forks.
_IMPORT_TORCH = "bakeoff.measure.backends.pretrained:import_libraries"
_IMPORT_SEQEVAL = "bakeoff.measure.tasks.label_schemes:import_reader"
# A server imports less than a gigabyte, which makes no difference to such a memory limit.
_WIDE_LIMIT_BYTES = 4 << 30
# How Python, PyTorch, ONNX Runtime and C++ say that memory was refused.
_OUT_OF_MEMORY = re.compile(
    r"MemoryError|bad_?alloc|[Cc]an(no|')t allocate memory|[Ff]ailed to allocate|bad allocation"
)


class PrepareOrder(Record):
    """Order to make the files that a backend runs from a checkpoint, and to check them.

    Attributes:
        documents: Documents on which outputs are compared.
        max_length: Tokens after which the measurement cuts a document.
        more_sizes: Batch sizes to compare besides those that are always compared.
        answers_file: File of PyTorch's answers for these documents, which the first order writes and the next
            ones read; None lets this one compute them.
        variables: Names of environment variables that the process gets besides the usual ones.
    """

    kind: Literal["prepare"] = "prepare"
    runtime: TensorBackend = Field(discriminator="kind")
    checkpoint: AbsolutePath
    checkpoint_digest: str
    destination: AbsolutePath
    task: Task = TokenClassification()
    documents: tuple[Document, ...]
    max_length: int
    more_sizes: tuple[int, ...] = ()
    answers_file: AbsolutePath | None = None
    memory_limit_bytes: int | None = None
    variables: tuple[str, ...] = ()


class MeasureOrder(Record):
    """Order to measure one scenario in one fresh process, as one repeat of a job.

    Attributes:
        lengths: Length of each document, in any unit. Equal lengths give all candidates of a heat the same
            order of inputs. None means lengths in words.
        cpus: CPUs on which the process may run; None means ours.
        memory_limit_bytes: Most that it may allocate, in bytes; None sets no limit.
        variables: Names of environment variables that the process gets besides the usual ones.
    """

    runtime: Backend
    scenario: Scenario
    checkpoint: AbsolutePath
    checkpoint_digest: str
    prepared: AbsolutePath | None
    task: Task = TokenClassification()
    documents: tuple[Document, ...]
    max_length: int
    repeat: int
    lengths: tuple[int, ...] | None = None
    cpus: tuple[int, ...] | None = None
    memory_limit_bytes: int | None = None
    variables: tuple[str, ...] = ()


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


def run_in_process(
    order: PrepareOrder | MeasureOrder,
    folder: Path,
    timeout_s: float,
    worker: str = WORKER,
    *,
    on_wait: Callable[[], None] | None = None,
) -> Done:
    """Carry out an order in a process of its own and return its outcome.

    The process is a new interpreter, or a fork of a server if ``can_fork`` allows that.

    A folder that already holds the whole outcome of this very order gives the answer.

    Args:
        order: The order.
        folder: Folder for the order, its outcome and the output of the process.
        timeout_s: Time after which the process and its children are killed.
        worker: Module that the process runs; its arguments are the folder and our process id.
        on_wait: Called about once a second meanwhile; it must be short.
    """
    begun = _begin(order, folder, worker, on_wait)
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
    """Carry out orders in processes of their own, several at once; no extra thread waits for them.

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
                begun = _begin(one.order, one.folder, worker, on_wait)
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
    process: processes.Child
    pending: PendingOrder
    begin_s: float


def _wait_for_any(
    running: Mapping[int, _Running], on_wait: Callable[[], None] | None
) -> list[tuple[int, bool]]:
    """Wait about a second; return each process that is over, and whether it ended by itself."""
    if running:
        next_end_s = min(each.begin_s + each.pending.timeout_s for each in running.values())
        longest_s = min(processes.CALL_S, max(next_end_s - time.monotonic(), 0.0))
        processes.wait_for_any([each.process for each in running.values()], longest_s)
        if on_wait is not None:
            on_wait()
    over = []
    for number, each in running.items():
        if each.process.poll() is not None:
            over.append((number, True))
        elif time.monotonic() >= each.begin_s + each.pending.timeout_s:
            over.append((number, False))
    return over


def _begin(
    order: PrepareOrder | MeasureOrder, folder: Path, worker: str, on_wait: Callable[[], None] | None
) -> processes.Child | Done:
    """Start the process of an order, unless its outcome is there."""
    wanted = order.model_dump_json().encode()
    if isinstance(order, MeasureOrder) and (earlier := _find_outcome(folder, wanted)):
        return earlier
    (folder / OUTCOME_FILE).unlink(missing_ok=True)
    durable.write_bytes(folder / ORDER_FILE, wanted)
    cpus = order.cpus if isinstance(order, MeasureOrder) else None
    place, variables = folder.absolute(), environment_for(order)
    if can_fork(order):
        with processes.open_outputs(folder) as outputs:
            forked = forks.fork(
                worker,
                (str(place),),
                folder,
                variables,
                outputs=outputs,
                named=order.variables,
                cpus=cpus,
                preload=_list_imports(order),
                on_wait=on_wait,
            )
        if forked is not None:
            return forked
    words = (str(place), str(os.getpid()))
    return processes.start_process(worker, words, folder, variables, named=order.variables, cpus=cpus)


def can_fork(order: PrepareOrder | MeasureOrder) -> bool:
    """Return whether a fork of a server may carry out an order.

    Nothing in it is timed, and no code of a user runs. A memory limit is wide, since it also counts what the
    server has imported for others. It uses no accelerator, whose driver does not survive a fork.
    """
    return not (
        isinstance(order, TimedOrder)
        or isinstance(order.runtime, RowBackend)
        or isinstance(order.task, Custom)
        or (order.memory_limit_bytes or _WIDE_LIMIT_BYTES) < _WIDE_LIMIT_BYTES
        or order.runtime.device != "cpu"
    )


def _list_imports(order: PrepareOrder | MeasureOrder) -> list[str]:
    """List the slow imports of an order that start no threads; the others are its own."""
    is_prepared = isinstance(order, PrepareOrder)
    # Files are made of a model in PyTorch, and compared with it.
    libraries = (*order.runtime.libraries, *(order.runtime.build_libraries if is_prepared else ()))
    imports = [_IMPORT_TORCH] if _TORCH in libraries else []
    if isinstance(order.task, TokenClassification) and not is_prepared:
        imports.append(_IMPORT_SEQEVAL)
    return imports


def _collect(
    process: processes.Child,
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
    path, end, code = folder / OUTCOME_FILE, processes.describe_end(process), process.returncode or 0
    try:
        return _read_outcome(path, end, code, tail)
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
        outcome = _open_outcome(folder / OUTCOME_FILE)
    except (FileNotFoundError, ValueError):
        return None
    return outcome if isinstance(outcome, Done) else None


def _open_outcome(path: Path) -> Done | Failed:
    """Read an outcome; a ValueError says that it is damaged, incomplete or something else."""
    return Outcome.validate_python(open_sealed(path.read_bytes()))


def _read_outcome(path: Path, end: str, returncode: int, tail: str) -> Done:
    if returncode < 0:
        raise WorkerError(end, detail=tail)
    try:
        outcome = _open_outcome(path)
    except FileNotFoundError:
        raise WorkerError(f"{end} and no outcome", detail=tail) from None
    except ValueError:
        raise WorkerError(f"{end} and a broken outcome", detail=tail) from None
    if isinstance(outcome, Failed):
        raise WorkerError(outcome.text, is_refusal=outcome.is_user_error)
    return outcome
