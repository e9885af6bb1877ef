"""Untimed jobs, such as quality, with the preparations that they need. Several run at once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial

from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import Measurement
from bakeoff.core.validity.judge import judge_measurement
from bakeoff.errors import WorkerError
from bakeoff.orchestrator.bench.claims import BenchClaims
from bakeoff.orchestrator.bench.limits import bound_time_s
from bakeoff.orchestrator.bench.preparations import (
    UntimedTask,
    count_at_once,
    planning_preparations,
    run_tasks,
)
from bakeoff.orchestrator.bench.prepare import EndsOneJob, PreparedJob, acquire_job, make_order, now_text
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project
from bakeoff.run.measuring.orders import Done, PendingOrder


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
        _Parallel(project, claims, advance, count_at_once(project, ready)).run(ready)


class _Parallel:
    def __init__(self, project: Project, claims: BenchClaims, advance: Advance, n_at_once: int) -> None:
        self._project = project
        self._claims = claims
        self._advance = advance
        self._n_at_once = n_at_once

    def run(self, ready: Sequence[PreparedJob]) -> None:
        """Run the jobs that can run, then those that waited for their backend's files."""
        with planning_preparations(self._project, ready, self._claims) as preparations:
            later = [each for each in ready if preparations.concern(each)]
            at_once = [self._task(each) for each in ready if not preparations.concern(each)]
            # Tasks that others wait for come first.
            self._run([*preparations.first, *at_once])
            self._run(preparations.rest)
        able = list[PreparedJob]()
        for each in later:
            if each.prepared in preparations.broken:
                self._claims.outcomes.fail(self._project, each.planned, preparations.broken[each.prepared])
            else:
                able.append(each)
        self._run([self._task(each) for each in able])

    def _run(self, tasks: Sequence[UntimedTask]) -> None:
        run_tasks(tasks, self._n_at_once, self._claims)

    def _task(self, ready: PreparedJob) -> UntimedTask:
        folder = self._project.results.work_folder(ready.job, ready.planned.attempt, "repeat-0")
        order = make_order(self._project, ready, 0)
        limit_s = bound_time_s(self._project.settings.benchmark, ready.open(), len(order.documents))
        return UntimedTask(PendingOrder(order, folder, limit_s), partial(self._keep, ready))

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
