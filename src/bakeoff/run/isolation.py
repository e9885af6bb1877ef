"""One order in one fresh process: started clean, waited for without burning CPU, and never left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from bakeoff import durable
from bakeoff.core.records import Environment
from bakeoff.errors import WorkerError
from bakeoff.measure.backends import Backend
from bakeoff.measure.entities import Document
from bakeoff.measure.protocol import TimingProtocol
from bakeoff.measure.readings import Reading
from bakeoff.measure.scenarios import Scenario
from bakeoff.record import Record

ORDER_FILE = "order.json"
OUTCOME_FILE = "outcome.json"
STDERR_TAIL_BYTES = 2000
WORKER = "bakeoff.run.worker"
_GRACE_S = 2.0
_LOOK_S = 0.01


class PrepareOrder(Record):
    """Make what a backend runs from a checkpoint, and check it."""

    kind: Literal["prepare"] = "prepare"
    runtime: Backend
    checkpoint: Path
    checkpoint_digest: str
    destination: Path
    texts: tuple[tuple[str, ...], ...]


class MeasureOrder(Record):
    """Measure one scenario once, as one generation of a job."""

    kind: Literal["measure"] = "measure"
    runtime: Backend
    scenario: Scenario
    protocol: TimingProtocol | None
    checkpoint: Path
    checkpoint_digest: str
    prepared: Path | None
    documents: tuple[Document, ...]
    max_length: int
    generation: int


Order = Annotated[PrepareOrder | MeasureOrder, Field(discriminator="kind")]


class Done(Record):
    """A whole outcome.

    Attributes:
        n_truncated: Documents of which words were cut off.
        run_delay_share: Share of the scenario's wall time in which the process waited for a CPU; by the
            kernel's count, never by the latencies.
    """

    kind: Literal["done"] = "done"
    readings: tuple[Reading, ...] = ()
    environment: Environment
    n_truncated: int = 0
    run_delay_share: float = 0.0


class Failed(Record):
    """The worker caught an error and wrote it down."""

    kind: Literal["failed"] = "failed"
    error: str
    message: str
    is_user_error: bool


Outcome: TypeAdapter[Done | Failed] = TypeAdapter(Annotated[Done | Failed, Field(discriminator="kind")])


def run_in_fresh_process(
    order: PrepareOrder | MeasureOrder, folder: Path, timeout_s: float, worker: str = WORKER
) -> Done:
    """Carry out an order in a new interpreter and return what it wrote.

    A folder that already holds the whole outcome of this very order is answered from there.

    Args:
        order: What to do.
        folder: For order, outcome and the process's output.
        timeout_s: After this the process and its children are killed.
        worker: The module that the process runs, with the folder and our process id as its arguments.

    Raises:
        WorkerError: The process failed, was killed, hung, or left no whole outcome.
    """
    wanted = order.model_dump_json().encode()
    if isinstance(order, MeasureOrder) and (earlier := _find_outcome(folder, wanted)):
        return earlier
    (folder / OUTCOME_FILE).unlink(missing_ok=True)
    durable.write_bytes(folder / ORDER_FILE, wanted)
    stderr_path = folder / "stderr.txt"
    with (folder / "stdout.txt").open("wb") as stdout, stderr_path.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", worker, str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=_environment(order),
            start_new_session=True,
        )
    try:
        ended_in_time = _wait(process, timeout_s)
    finally:
        _end(process)
    tail = _tail(stderr_path)
    if not ended_in_time:
        raise WorkerError(f"no outcome after {timeout_s:g} s", detail=tail)
    return _read_outcome(folder / OUTCOME_FILE, process.returncode, tail)


def _find_outcome(folder: Path, order: bytes) -> Done | None:
    try:
        if (folder / ORDER_FILE).read_bytes() != order:
            return None
        outcome = Outcome.validate_json((folder / OUTCOME_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return outcome if isinstance(outcome, Done) else None


def _environment(order: PrepareOrder | MeasureOrder) -> dict[str, str]:
    """Thread pools must be sized before the libraries are imported, so it is done from outside."""
    threads = str(order.runtime.threads or 1)
    hash_seed = order.generation if isinstance(order, MeasureOrder) else 0
    return os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONHASHSEED": str(hash_seed),
    }


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Block until the process ends; Popen.wait(timeout) would poll, and disturb what is measured."""
    if not hasattr(os, "pidfd_open"):  # not Linux
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True
    descriptor = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            if poller.poll(left_s * 1000):
                process.wait()
                return True
        return False
    finally:
        os.close(descriptor)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started: they share a session of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        if process.poll() is not None:
            continue
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
    deadline = time.monotonic() + _GRACE_S
    while _has_members(process.pid) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)  # dying takes a moment, and what is measured next shall not meet it


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - STDERR_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


def _read_outcome(path: Path, returncode: int, tail: str) -> Done:
    if returncode < 0:
        raise WorkerError(f"killed by {signal.Signals(-returncode).name}", detail=tail)
    try:
        outcome = Outcome.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise WorkerError(f"exit code {returncode} and no outcome", detail=tail) from None
    except ValidationError:
        raise WorkerError(f"exit code {returncode} and a broken outcome", detail=tail) from None
    if isinstance(outcome, Failed):
        raise WorkerError(outcome.message if outcome.is_user_error else f"{outcome.error}: {outcome.message}")
    return outcome
