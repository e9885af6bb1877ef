"""Preparations: backends make their files, and each is compared with PyTorch, several at once."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from bakeoff.errors import WorkerError
from bakeoff.measure.backends import Torch
from bakeoff.measure.system.cgroups import read_memory_left_bytes
from bakeoff.orchestrator.bench.claims import BenchClaims
from bakeoff.orchestrator.bench.prepare import PreparedJob, find_preparation
from bakeoff.orchestrator.project import Project
from bakeoff.run.machine.hardware import detect_hardware
from bakeoff.run.measuring.orders import Done, PendingOrder, run_side_by_side

# Share of the free memory that these processes may use.
MEMORY_SHARE = 0.6
# What a process with PyTorch takes, and an export for each byte of weights: see backends/onnx_export.py.
PROCESS_BYTES = 1 << 30
BYTES_PER_WEIGHT_BYTE = 8
_ANSWERS_FILE = "answers.npz"


class UntimedTask(NamedTuple):
    """An untimed order, and what takes its outcome and its wall time in s."""

    order: PendingOrder
    end: Callable[[Done | WorkerError, float], None]


class Preparations:
    """Tasks that make missing files of backends, one for each folder.

    All runtimes of a checkpoint are compared with the same answers of PyTorch, and a large model takes
    minutes to give them. So one task computes them for the others. If it fails, they compute them again, and
    the error of each names its own cause.

    Args:
        project: Project of the jobs.
        ready: Jobs, some of which may have their files.
        refused: Error of each folder that was refused before, which is not tried again; it gets new ones.
        aside: Empty folder for answers, which must last as long as the tasks.

    Attributes:
        first: Tasks that compute answers for others.
        rest: Tasks that must begin after these.
        broken: Error of each folder that could not be made.
    """

    def __init__(
        self,
        project: Project,
        ready: Sequence[PreparedJob],
        refused: dict[Path, WorkerError],
        aside: Path,
    ) -> None:
        self.first: list[UntimedTask] = []
        self.rest: list[UntimedTask] = []
        wanted = {each.prepared for each in ready}
        self.broken = {folder: error for folder, error in refused.items() if folder in wanted}
        self._refused = refused
        self._project = project
        self._jobs: dict[Path, PreparedJob] = {}
        checkpoints = defaultdict[str, list[UntimedTask]](list)
        for each in ready:
            if each.prepared is None or self.concern(each):
                continue
            order = find_preparation(project, each)
            if order is not None:
                self._jobs[each.prepared] = each
                task = UntimedTask(order, partial(self._end, each.prepared, order.folder))
                checkpoints[each.job.checkpoint_digest].append(task)
        for digest, tasks in checkpoints.items():
            if len(tasks) > 1:
                self._share_answers(tasks, aside / digest)
            else:
                self.rest += tasks

    def concern(self, ready: PreparedJob) -> bool:
        """Return whether a job waits for one of these tasks, or for none since its files are refused."""
        return ready.prepared in self._jobs or ready.prepared in self.broken

    def _share_answers(self, tasks: Sequence[UntimedTask], aside: Path) -> None:
        """Let one task of a checkpoint compute PyTorch's answers for all.

        The runtime that is PyTorch itself does nothing else, so it comes first. Without it, an order of its
        own does so, whose folder is thrown away.
        """
        file = aside / _ANSWERS_FILE
        tasks = [task._replace(order=_change(task.order, answers_file=file)) for task in tasks]
        first = next((task for task in tasks if _is_reference(task.order)), None)
        if first is None:
            model = tasks[0].order
            runtime = Torch(threads=model.order.runtime.threads)
            changed = _change(model, runtime=runtime, destination=aside / "prepared")
            first = UntimedTask(replace(changed, folder=aside / "order"), self._tell_answered)
        self.first.append(first)
        self.rest += [task for task in tasks if task is not first]

    def _tell_answered(self, outcome: Done | WorkerError, wall_s: float) -> None:
        if isinstance(outcome, Done):
            self._project.progress.say(f"PyTorch's answers, for all runtimes of a model: {wall_s:.0f} s")

    def _end(self, prepared: Path, folder: Path, outcome: Done | WorkerError, wall_s: float) -> None:
        if isinstance(outcome, WorkerError):
            self.broken[prepared] = outcome
            if outcome.is_refusal:
                self._refused[prepared] = outcome
            return
        candidate = self._jobs[prepared].job.candidate
        self._project.progress.say(f"{candidate}: prepared in {wall_s:.0f} s")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def planning_preparations(
    project: Project, ready: Sequence[PreparedJob], claims: BenchClaims
) -> Iterator[Preparations]:
    """Plan the missing preparations, and keep the answers that they share until the end."""
    with TemporaryDirectory(prefix="bakeoff-answers-") as aside:
        with claims.beating():
            preparations = Preparations(project, ready, claims.outcomes.refused, Path(aside))
        yield preparations


def prepare_together(
    project: Project, ready: Sequence[PreparedJob], claims: BenchClaims
) -> dict[Path, WorkerError]:
    """Let backends make their missing files.

    Returns:
        The error of each folder that could not be made.
    """
    with planning_preparations(project, ready, claims) as preparations:
        if preparations.rest:  # what comes first comes for one of these
            n_at_once = count_at_once(project, ready)
            run_tasks(preparations.first, n_at_once, claims)
            run_tasks(preparations.rest, n_at_once, claims)
    return preparations.broken


def run_tasks(tasks: Sequence[UntimedTask], n_at_once: int, claims: BenchClaims) -> None:
    """Run tasks in processes of their own, several at once."""
    run_side_by_side(
        [task.order for task in tasks],
        n_at_once,
        lambda number, outcome, wall_s: tasks[number].end(outcome, wall_s),
        claims.beat,
    )


def count_at_once(project: Project, ready: Sequence[PreparedJob]) -> int:
    """Count the processes that have memory and a CPU for each thread; one if they share a device."""
    settings = project.settings.benchmark
    if any(getattr(each.job.runtime, "device", "cpu") != "cpu" for each in ready):
        return 1
    threads = max(each.job.runtime.threads or 1 for each in ready)
    weights_bytes = max(each.open().size_bytes for each in ready)
    needs_bytes = settings.memory_limit_bytes or PROCESS_BYTES + BYTES_PER_WEIGHT_BYTE * weights_bytes
    free_bytes = MEMORY_SHARE * min(psutil.virtual_memory().available, read_memory_left_bytes())
    return max(1, min(detect_hardware(settings.cpus).usable_cpus // threads, int(free_bytes // needs_bytes)))


def _change(pending: PendingOrder, **changes: object) -> PendingOrder:
    return replace(pending, order=pending.order.replace(**changes))


def _is_reference(pending: PendingOrder) -> bool:
    runtime = pending.order.runtime
    return isinstance(runtime, Torch) and runtime.is_reference
