"""The process that trains: requests in, answers out.

Started as ``python -m bakeoff.run.training.worker DESCRIPTOR PARENT_PID``, with a pipe at that descriptor.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from bakeoff.errors import BakeoffError, WorkerError
from bakeoff.run.machine.processes import die_with_parent
from bakeoff.run.training.messages import Broke, Loaded, LoadTrainer, Reported, Train, Trained
from bakeoff.run.training.trainer import TrainingStopped, can_report, load_trainer, run_training

_LOOK_S = 1.0


def main(words: list[str]) -> int:
    """Answer requests until the parent closes the pipe."""
    descriptor, parent_pid = map(int, words)
    _end_with_parent(parent_pid)
    os.set_inheritable(descriptor, False)
    sys.stdout = sys.stderr  # both lead there; this one keeps nothing back
    pipe: Connection[Any, Any] = Connection(descriptor)
    while True:
        try:
            question = pipe.recv()
            pipe.send(_answer(question, pipe))
        except (EOFError, OSError):
            return 0


def _answer(question: LoadTrainer | Train, pipe: Connection[Any, Any]) -> Loaded | Trained | Broke:
    def report(metrics: Mapping[str, float]) -> None:
        pipe.send(Reported({name: float(value) for name, value in metrics.items()}))
        if not pipe.recv():
            raise TrainingStopped

    try:
        if isinstance(question, LoadTrainer):
            return Loaded(can_report(load_trainer(question.trainer)))
        given = report if question.is_judged else None
        return Trained(run_training(question.trainer, question.order, given))
    except TrainingStopped:
        return Trained(None)
    except BakeoffError as error:
        return Broke(error)
    except Exception as error:  # noqa: BLE001 - outermost: every error of a trainer becomes a failed trial
        place = traceback.extract_tb(error.__traceback__)[-1]
        raised = f"{question.trainer} raised {type(error).__name__}"
        return Broke(WorkerError(raised, detail=f"{error} ({place.filename}:{place.lineno})"))


def _end_with_parent(parent_pid: int) -> None:
    """End this process with its parent: a killed parent cannot, and its trial goes to another worker."""
    die_with_parent(parent_pid)
    if sys.platform != "linux":
        threading.Thread(target=_watch, args=(parent_pid,), daemon=True).start()


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_LOOK_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
