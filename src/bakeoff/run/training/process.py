"""The process in which trainings run: it imports torch once, and our own process never does.

The first training starts it; a pipe carries one request at a time. During a training it may report after
every epoch, and then it waits for the answer: continue or stop.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Collection, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bakeoff.disk import durable
from bakeoff.errors import WorkerError
from bakeoff.run.machine import forks, processes
from bakeoff.run.machine.hardware import default_threads, detect_hardware
from bakeoff.run.training.messages import Broke, Loaded, LoadTrainer, Reported, Train, Trained
from bakeoff.run.training.trainer import TrainingOrder, TrainingOutcome, is_built_in

Judge = Callable[[Mapping[str, float]], bool]
"""Gets the metrics after an epoch, and returns whether the training continues."""

WORKER = "bakeoff.run.training.worker"
# Output of libraries must not mix with our results on stdout.
_OUTPUTS = (2, 2)
# No library may reach for a hub, and threads that wait must leave the CPU to those that work.
_VARIABLES = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
_THREADS = "OMP_NUM_THREADS"
_PRELOAD = (
    "bakeoff.run.training.hugging_face:import_torch",
    "bakeoff.measure.tasks.label_schemes:import_reader",
)


class TrainingProcess:
    """One process for the trainings of a sweep; it ends with the ``with`` block.

    A training that kills it costs only that training: the next one gets a fresh process. Trainings of our own
    trainer run in a fork of a server, if one is kept.

    Args:
        folder: Working folder of the process; it is made if it is missing.
        variables: Names of environment variables that it gets besides the usual ones.
    """

    def __init__(self, folder: Path, variables: Collection[str] = ()) -> None:
        self._folder = folder
        self._variables = variables
        self._process: processes.Child | None = None
        self._runs_foreign_code = False
        self._pipe: Connection[Any, Any] | None = None

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
        """LoadTrainer a trainer there and return whether it can report.

        This comes before the first trial, since a broken trainer would use it up.
        """
        answer = self._ask(LoadTrainer(trainer))
        return isinstance(answer, Loaded) and answer.can_report

    def train(self, trainer: str, order: TrainingOrder) -> TrainingOutcome:
        """Train to the end."""
        answer = self._ask(Train(trainer, order, is_judged=False))
        if not isinstance(answer, Trained) or answer.outcome is None:
            raise WorkerError("the training stopped without a request")
        return answer.outcome

    def train_judged(self, trainer: str, order: TrainingOrder, judge: Judge) -> TrainingOutcome | None:
        """Train as long as the judge lets it; return None if the judge stopped it."""
        answer = self._ask(Train(trainer, order, is_judged=True), judge)
        return answer.outcome if isinstance(answer, Trained) else None

    def close(self) -> None:
        """End the process at once, with all that it started."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            processes.end_process(self._process, grace_s=0.0)
        self._process = self._pipe = None

    def _ask(self, question: LoadTrainer | Train, judge: Judge | None = None) -> Loaded | Trained:
        pipe = self._open(question.trainer)
        try:
            pipe.send(question)
            while isinstance(answer := pipe.recv(), Reported):
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
        if isinstance(answer, Broke):
            raise answer.error
        if not isinstance(answer, Loaded | Trained):
            raise TypeError(f"a training process answered {answer!r}")
        return answer

    def _open(self, trainer: str) -> Connection[Any, Any]:
        if not (is_built_in(trainer) or self._runs_foreign_code):
            self.close()  # a fork must not run code of a user
        if self._pipe is None:
            self._runs_foreign_code = not is_built_in(trainer)
            folder = durable.make_folder(self._folder)
            self._pipe, theirs = multiprocessing.Pipe()
            with theirs:
                self._process = self._start(folder, theirs.fileno())
        return self._pipe

    def _start(self, folder: Path, pipe: int) -> processes.Child:
        if self._runs_foreign_code:
            return self._start_fresh(folder, pipe, _VARIABLES)
        variables = _own_variables()
        forked = forks.fork(
            WORKER,
            (),
            folder,
            variables,
            outputs=_OUTPUTS,
            named=self._variables,
            pass_fds=(pipe,),
            preload=_PRELOAD,
        )
        return forked or self._start_fresh(folder, pipe, variables)

    def _start_fresh(self, folder: Path, pipe: int, variables: Mapping[str, str]) -> processes.Child:
        stdout, stderr = _OUTPUTS
        return processes.start_python(
            WORKER,
            (str(pipe), str(os.getpid())),
            folder,
            variables,
            named=self._variables,
            pass_fds=(pipe,),
            stdout=stdout,
            stderr=stderr,
        )


def _own_variables() -> dict[str, str]:
    """Return variables for our own trainer: those of untimed orders, so that they can share a fork server."""
    given = os.environ.get(_THREADS, "")
    threads = int(given) if given.isdecimal() else default_threads(detect_hardware())
    return processes.thread_environment(threads, hash_seed=0) | _VARIABLES
