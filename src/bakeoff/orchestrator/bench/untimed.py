"""What is not timed, preparing and jobs such as quality: several at once, each in a fresh process."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import Champion, Measurement
from bakeoff.core.validity.judge import judge_measurement
from bakeoff.errors import WorkerError
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.orchestrator.bench.claims import Share
from bakeoff.orchestrator.bench.prepare import (
    EndsOneJob,
    Work,
    find_preparation,
    find_work,
    make_order,
    now_text,
)
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project
from bakeoff.run.machine.cgroups import read_memory_left_bytes
from bakeoff.run.machine.hardware import detect_hardware
from bakeoff.run.measuring.orders import Done, Task, run_side_by_side

# Of the free memory; more is left to others.
MEMORY_SHARE = 0.6
# What a process with PyTorch takes, and an export for each byte of weights: see backends/export.py.
PROCESS_BYTES = 1 << 30
BYTES_PER_WEIGHT_BYTE = 8


def measure_untimed(
    project: Project,
    jobs: Sequence[PlannedJob],
    by_run: Mapping[str, Champion],
    share: Share,
    advance: Advance,
) -> None:
    """Measure jobs side by side; each is on disk as soon as it ends, and outcomes on disk are not repeated.

    First run the jobs that need nothing and what the others need, then the others.
    """
    works = list[Work]()
    for planned in jobs:
        try:
            with share.beating():
                works.append(find_work(project, planned, by_run[planned.job.champion_run_id]))
        except EndsOneJob as error:
            share.outcomes.fail(project, planned, error)
    if works:
        _Bench(project, share, advance, _count_at_once(project, works)).run(works)


def prepare_together(project: Project, works: Sequence[Work], share: Share) -> dict[Path, WorkerError]:
    """Let backends prepare what is not there.

    Returns:
        Why a folder could not be prepared.
    """
    with share.beating():
        preparations = _find_preparations(project, works)
    if not preparations:
        return {}
    places, broken = list(preparations), dict[Path, WorkerError]()

    def end(number: int, outcome: Done | WorkerError, _: float) -> None:
        if isinstance(outcome, WorkerError):
            broken[places[number]] = outcome
        else:
            shutil.rmtree(preparations[places[number]].folder, ignore_errors=True)

    run_side_by_side([*preparations.values()], _count_at_once(project, works), end, share.beat)
    return broken


def _find_preparations(project: Project, works: Sequence[Work]) -> dict[Path, Task]:
    """Return what is to be prepared by its folder, once where several jobs need it."""
    found: dict[Path, Task] = {}
    for work in works:
        if work.prepared is not None and work.prepared not in found:
            task = find_preparation(project, work)
            if task is not None:
                found[work.prepared] = task
    return found


class _Bench:
    def __init__(self, project: Project, share: Share, advance: Advance, n_at_once: int) -> None:
        self._project = project
        self._share = share
        self._advance = advance
        self._n_at_once = n_at_once

    def run(self, works: Sequence[Work]) -> None:
        """Run what can be run, then what had to wait for its backend."""
        with self._share.beating():
            preparations = _find_preparations(self._project, works)
        broken = dict[Path, WorkerError]()
        at_once = [work for work in works if work.prepared not in preparations]
        places = list(preparations)

        def end(number: int, outcome: Done | WorkerError, wall_s: float) -> None:
            if number >= len(places):
                self._keep(at_once[number - len(places)], outcome, wall_s)
            elif isinstance(outcome, WorkerError):
                broken[places[number]] = outcome
            else:
                shutil.rmtree(preparations[places[number]].folder, ignore_errors=True)

        # What others wait for comes first.
        tasks = [*preparations.values(), *map(self._task, at_once)]
        run_side_by_side(tasks, self._n_at_once, end, self._share.beat)
        later = [work for work in works if work.prepared in preparations]
        for work in later:
            if work.prepared in broken:
                self._share.outcomes.fail(self._project, work.planned, broken[work.prepared])
        able = [work for work in later if work.prepared not in broken]
        run_side_by_side(
            [self._task(work) for work in able],
            self._n_at_once,
            lambda number, outcome, wall_s: self._keep(able[number], outcome, wall_s),
            self._share.beat,
        )

    def _task(self, work: Work) -> Task:
        folder = self._project.results.work_folder(work.job, work.planned.attempt, "repeat-0")
        return Task(make_order(self._project, work, 0), folder, self._project.settings.benchmark.timeout_s)

    def _keep(self, work: Work, outcome: Done | WorkerError, wall_s: float) -> None:
        project, job, attempt = self._project, work.job, work.planned.attempt
        if isinstance(outcome, WorkerError):
            self._share.outcomes.fail(project, work.planned, outcome)
            return
        flags = judge_measurement(
            job,
            outcome.readings,
            outcome.environment,
            n_truncated=outcome.n_truncated,
            token_limit=open_checkpoint(work.checkpoint).token_limit(job.max_length),
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
        self._share.outcomes.keep(project, measurement)
        shutil.rmtree(project.results.work_folder(job, attempt), ignore_errors=True)
        self._advance(f"{job.label} 1/1")


def _count_at_once(project: Project, works: Sequence[Work]) -> int:
    """How many processes have a CPU for each of their threads, and memory; one where they share a device."""
    settings = project.settings.benchmark
    if any(getattr(work.job.runtime, "device", "cpu") != "cpu" for work in works):
        return 1
    threads = max(work.job.runtime.threads or 1 for work in works)
    weights_bytes = max(open_checkpoint(work.checkpoint).size_bytes for work in works)
    needs_bytes = settings.memory_limit_bytes or PROCESS_BYTES + BYTES_PER_WEIGHT_BYTE * weights_bytes
    free_bytes = MEMORY_SHARE * min(psutil.virtual_memory().available, read_memory_left_bytes())
    return max(1, min(detect_hardware(settings.cpus).usable_cpus // threads, int(free_bytes // needs_bytes)))
