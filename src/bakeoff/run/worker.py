"""The process that measures: an order in, an outcome out, nothing else of ours running beside it.

Started as ``python -m bakeoff.run.worker FOLDER PARENT_PID``. It never imports mlflow, and imports of the
heavy libraries only what the ordered runtime needs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter

from bakeoff import durable
from bakeoff.errors import BakeoffError, CheckpointError
from bakeoff.folders import build_folder
from bakeoff.measure.checkpoint import open_verified_checkpoint
from bakeoff.measure.encoding import Encoder
from bakeoff.measure.subject import Subject
from bakeoff.run.hardware import record_environment
from bakeoff.run.isolation import ORDER_FILE, OUTCOME_FILE, Done, Failed, MeasureOrder, Order, PrepareOrder

_PR_SET_PDEATHSIG = 1


def main(folder: Path, parent_pid: int) -> int:
    """Carry out the order in a folder; returns the exit code."""
    _die_with_parent(parent_pid)
    outcome: Done | Failed
    try:
        order: PrepareOrder | MeasureOrder = TypeAdapter[PrepareOrder | MeasureOrder](Order).validate_json(
            (folder / ORDER_FILE).read_bytes()
        )
        outcome = _prepare(order) if isinstance(order, PrepareOrder) else _measure(order)
    except BaseException as error:  # noqa: BLE001 - the rim: whatever happens becomes a recorded failure
        traceback.print_exc()
        outcome = Failed(
            error=type(error).__name__,
            message=str(error),
            is_user_error=isinstance(error, BakeoffError),
        )
    durable.write_bytes(folder / OUTCOME_FILE, outcome.model_dump_json().encode())
    return 0 if isinstance(outcome, Done) else 1


def _prepare(order: PrepareOrder) -> Done:
    checkpoint = open_verified_checkpoint(order.checkpoint, order.checkpoint_digest)
    build_folder(order.destination, lambda aside: order.runtime.prepare(checkpoint, aside, order.texts))
    return Done(environment=record_environment())


def _measure(order: MeasureOrder) -> Done:
    checkpoint = open_verified_checkpoint(order.checkpoint, order.checkpoint_digest)
    unknown = {tag for document in order.documents for tag in document.tags} - set(checkpoint.labels)
    if unknown:
        raise CheckpointError(
            order.checkpoint,
            found=f"its labels lack {', '.join(sorted(unknown)[:5])}, which the documents carry",
            cure="evaluate with the data that it was trained for",
        )
    encoder = Encoder(checkpoint, order.max_length)
    encodings = tuple(encoder.encode(document.tokens) for document in order.documents)
    subject = Subject(
        session=order.runtime.load(checkpoint, order.prepared),
        checkpoint=checkpoint,
        encoder=encoder,
        documents=order.documents,
        encodings=encodings,
        protocol=order.protocol,
        generation=order.generation,
    )
    begin_ns, delay_ns = time.perf_counter_ns(), _run_delay_ns()
    readings = order.scenario.measure(subject)
    wall_ns = time.perf_counter_ns() - begin_ns
    return Done(
        readings=readings,
        environment=record_environment(),
        n_truncated=sum(encoding.is_truncated for encoding in encodings),
        run_delay_share=max(0, _run_delay_ns() - delay_ns) / wall_ns,
    )


def _run_delay_ns() -> int:
    """Time that this process's threads waited for a CPU, by the kernel's count; 0 where it keeps none."""
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread may end while we look
            total += int(path.read_text(encoding="ascii").split()[1])
    return total


def _die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill us when the parent dies, so that no orphan disturbs what is measured later."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
