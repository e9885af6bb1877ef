"""The process in which trainings run: it imports torch once, and our own process never does.

The first training spawns it; a pipe carries one request at a time. During a training it may report after
every epoch, and then it waits for the answer: continue or stop.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Self

from bakeoff.errors import BakeoffError, WorkerError
from bakeoff.run.training.trainer import (
    TrainingOrder,
    TrainingOutcome,
    TrainingStopped,
    can_report,
    load_trainer,
    run_training,
)

Judge = Callable[[Mapping[str, float]], bool]
"""Gets the metrics after an epoch, and returns whether the training continues."""

_END_S = 5.0


@dataclass(frozen=True)
class _Load:
    trainer: str


@dataclass(frozen=True)
class _Train:
    trainer: str
    order: TrainingOrder
    is_judged: bool


@dataclass(frozen=True)
class _Loaded:
    can_report: bool


@dataclass(frozen=True)
class _Reported:
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class _Trained:
    outcome: TrainingOutcome | None


@dataclass(frozen=True)
class _Broke:
    error: BakeoffError


class TrainingProcess:
    """One spawned process for the trainings of a sweep; it ends with the ``with`` block.

    A training that kills it costs only that training: the next one gets a fresh process.
    """

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def load(self, trainer: str) -> bool:
        """Load a trainer there and return whether it can report.

        This comes before the first trial, since a broken trainer would use it up.
        """
        answer = self._ask(_Load(trainer))
        return isinstance(answer, _Loaded) and answer.can_report

    def train(self, trainer: str, order: TrainingOrder) -> TrainingOutcome:
        """Train to the end."""
        answer = self._ask(_Train(trainer, order, is_judged=False))
        if not isinstance(answer, _Trained) or answer.outcome is None:
            raise WorkerError("the training stopped without a request")
        return answer.outcome

    def train_judged(self, trainer: str, order: TrainingOrder, judge: Judge) -> TrainingOutcome | None:
        """Train as long as the judge lets it; return None if the judge stopped it."""
        answer = self._ask(_Train(trainer, order, is_judged=True), judge)
        return answer.outcome if isinstance(answer, _Trained) else None

    def close(self) -> None:
        """End the process at once."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join(_END_S)
        self._process = self._pipe = None

    def _ask(self, question: _Load | _Train, judge: Judge | None = None) -> _Loaded | _Trained:
        pipe = self._open()
        try:
            pipe.send(question)
            while isinstance(answer := pipe.recv(), _Reported):
                pipe.send(judge is None or judge(answer.metrics))
        except (EOFError, OSError) as error:
            self.close()
            raise WorkerError(
                "the training process died",
                detail="killed from outside or out of memory; run the sweep again",
            ) from error
        except BaseException:
            self.close()  # it waits for an answer that will not come
            raise
        if isinstance(answer, _Broke):
            raise answer.error
        if not isinstance(answer, _Loaded | _Trained):
            raise TypeError(f"a training process answered {answer!r}")
        return answer

    def _open(self) -> Connection:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,))
            self._process.start()
            theirs.close()
        return self._pipe


def _serve(pipe: Connection) -> None:
    """Answer requests until the parent closes the pipe."""
    _settle()
    while True:
        try:
            question = pipe.recv()
            pipe.send(_answer(question, pipe))
        except (EOFError, OSError):
            return


def _answer(question: _Load | _Train, pipe: Connection) -> _Loaded | _Trained | _Broke:
    def report(metrics: Mapping[str, float]) -> None:
        pipe.send(_Reported({name: float(value) for name, value in metrics.items()}))
        if not pipe.recv():
            raise TrainingStopped

    try:
        if isinstance(question, _Load):
            return _Loaded(can_report(load_trainer(question.trainer)))
        given = report if question.is_judged else None
        return _Trained(run_training(question.trainer, question.order, given))
    except TrainingStopped:
        return _Trained(None)
    except BakeoffError as error:
        return _Broke(error)
    except Exception as error:  # noqa: BLE001 - outermost: every error of a trainer becomes a failed trial
        place = traceback.extract_tb(error.__traceback__)[-1]
        raised = f"{question.trainer} raised {type(error).__name__}"
        return _Broke(WorkerError(raised, detail=f"{error} ({place.filename}:{place.lineno})"))


def _settle() -> None:
    # Output of libraries must not mix with our results on stdout, and no library may reach for a hub.
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent acts upon an interrupt of the terminal
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process with its parent: a killed parent cannot, and its trial goes to another worker."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
