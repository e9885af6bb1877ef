"""Untimed work: preparation, and jobs such as quality. Several run at once, each in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import psutil

from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import Measurement
from bakeoff.core.validity.judge import judge_measurement
from bakeoff.errors import WorkerError
from bakeoff.measure.system.cgroups import read_memory_left_bytes
from bakeoff.orchestrator.bench.claims import BenchClaims
from bakeoff.orchestrator.bench.limits import bound_time_s
from bakeoff.orchestrator.bench.prepare import (
    EndsOneJob,
    PreparedJob,
    acquire_job,
    find_preparation,
    make_order,
    now_text,
)
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project
from bakeoff.run.machine.hardware import detect_hardware
from bakeoff.run.measuring.orders import Done, PendingOrder, run_side_by_side

# Share of the free memory that these processes may use.
MEMORY_SHARE = 0.6
# What a process with PyTorch takes, and an export for each byte of weights: see backends/export.py.
PROCESS_BYTES = 1 << 30
BYTES_PER_WEIGHT_BYTE = 8


def measure_untimed(
    project: Project, unit: Sequence[PlannedJob], claims: BenchClaims, advance: Advance
) -> None:
    """Measure jobs in parallel; each is on disk as soon as it ends, and outcomes on disk are not repeated.

    Jobs that need nothing, and the preparations for the others, run first.
    """
    ready = list[PreparedJob]()
    for planned in unit:
        try:
            with claims.beating():
                ready.append(acquire_job(project, planned))
        except EndsOneJob as error:
            claims.outcomes.fail(project, planned, error)
    if ready:
        _Parallel(project, claims, advance, _count_at_once(project, ready)).run(ready)


def prepare_together(
    project: Project, ready: Sequence[PreparedJob], claims: BenchClaims
) -> dict[Path, WorkerError]:
    """Let backends make their missing files.

    Returns:
        The error of each folder that could not be made.
    """
    with claims.beating():
        preparations = _Preparations(project, ready)
    if preparations.orders:
        n_at_once = _count_at_once(project, ready)
        run_side_by_side(preparations.orders, n_at_once, preparations.end, claims.beat)
    return preparations.broken


class _Preparations:
    """Orders that make missing files of backends, one for each folder.

    Attributes:
        orders: The orders.
        broken: Error of each folder that could not be made.
    """

    def __init__(self, project: Project, ready: Sequence[PreparedJob]) -> None:
        self.orders: list[PendingOrder] = []
        self.broken: dict[Path, WorkerError] = {}
        self._project = project
        self._jobs: dict[Path, PreparedJob] = {}
        for each in ready:
            if each.prepared is not None and each.prepared not in self._jobs:
                order = find_preparation(project, each)
                if order is not None:
                    self._jobs[each.prepared] = each
                    self.orders.append(order)

    def concern(self, ready: PreparedJob) -> bool:
        """Return whether a job waits for one of these orders."""
        return ready.prepared in self._jobs

    def end(self, number: int, outcome: Done | WorkerError, wall_s: float) -> None:
        """Take the outcome of an order."""
        folder, job = list(self._jobs.items())[number]
        if isinstance(outcome, WorkerError):
            self.broken[folder] = outcome
            return
        self._project.progress.say(f"{job.job.candidate}: prepared in {wall_s:.0f} s")
        shutil.rmtree(self.orders[number].folder, ignore_errors=True)


class _Parallel:
    def __init__(self, project: Project, claims: BenchClaims, advance: Advance, n_at_once: int) -> None:
        self._project = project
        self._claims = claims
        self._advance = advance
        self._n_at_once = n_at_once

    def run(self, ready: Sequence[PreparedJob]) -> None:
        """Run the jobs that can run, then those that waited for their backend's files."""
        with self._claims.beating():
            preparations = _Preparations(self._project, ready)
        at_once = [each for each in ready if not preparations.concern(each)]
        n_preparations, broken = len(preparations.orders), preparations.broken

        def end(number: int, outcome: Done | WorkerError, wall_s: float) -> None:
            if number < n_preparations:
                preparations.end(number, outcome, wall_s)
            else:
                self._keep(at_once[number - n_preparations], outcome, wall_s)

        # Orders that others wait for come first.
        orders = [*preparations.orders, *map(self._task, at_once)]
        run_side_by_side(orders, self._n_at_once, end, self._claims.beat)
        later = [each for each in ready if preparations.concern(each)]
        for each in later:
            if each.prepared in broken:
                self._claims.outcomes.fail(self._project, each.planned, broken[each.prepared])
        able = [each for each in later if each.prepared not in broken]
        run_side_by_side(
            [self._task(each) for each in able],
            self._n_at_once,
            lambda number, outcome, wall_s: self._keep(able[number], outcome, wall_s),
            self._claims.beat,
        )

    def _task(self, ready: PreparedJob) -> PendingOrder:
        folder = self._project.results.work_folder(ready.job, ready.planned.attempt, "repeat-0")
        order = make_order(self._project, ready, 0)
        settings = self._project.settings.benchmark
        return PendingOrder(order, folder, bound_time_s(settings, ready.open(), len(order.documents)))

    def _keep(self, ready: PreparedJob, outcome: Done | WorkerError, wall_s: float) -> None:
        project, job, attempt = self._project, ready.job, ready.planned.attempt
        if isinstance(outcome, WorkerError):
            self._claims.outcomes.fail(project, ready.planned, outcome)
            return
        flags = judge_measurement(
            job,
            outcome.readings,
            outcome.environment,
            n_truncated=outcome.n_truncated,
            token_limit=ready.token_limit,
            accepts_contention=project.settings.benchmark.accept_contended,
        )
        measurement = Measurement(
            job=job,
            attempt=attempt,
            measured_at=now_text(),
            environment=outcome.environment,
            runtime_facts=outcome.facts,
            readings=outcome.readings,
            flags=flags,
            wall_s=wall_s,
            timed_s=0.0,
        )
        self._claims.outcomes.keep(project, measurement)
        shutil.rmtree(project.results.work_folder(job, attempt), ignore_errors=True)
        self._advance(f"{job.label} 1/1")


def _count_at_once(project: Project, ready: Sequence[PreparedJob]) -> int:
    """Count the processes that have memory and a CPU for each thread; one if they share a device."""
    settings = project.settings.benchmark
    if any(getattr(each.job.runtime, "device", "cpu") != "cpu" for each in ready):
        return 1
    threads = max(each.job.runtime.threads or 1 for each in ready)
    weights_bytes = max(each.open().size_bytes for each in ready)
    needs_bytes = settings.memory_limit_bytes or PROCESS_BYTES + BYTES_PER_WEIGHT_BYTE * weights_bytes
    free_bytes = MEMORY_SHARE * min(psutil.virtual_memory().available, read_memory_left_bytes())
    return max(1, min(detect_hardware(settings.cpus).usable_cpus // threads, int(free_bytes // needs_bytes)))
