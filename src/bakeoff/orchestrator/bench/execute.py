"""Carry out planned jobs: together in heats, side by side where nothing is timed, or alone.

Every result is kept at once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence

from bakeoff.core.plan.jobs import PlannedJob
from bakeoff.core.records import Champion, Job, Measurement
from bakeoff.core.validity.judge import judge_measurement
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.scenarios import Interleaved, Server
from bakeoff.measure.statistics.readings import merge_repeats
from bakeoff.orchestrator.bench.claims import Share
from bakeoff.orchestrator.bench.heat import measure_heat
from bakeoff.orchestrator.bench.prepare import EndsOneJob, flag_mixed, make_order, make_ready, now_text
from bakeoff.orchestrator.bench.untimed import measure_untimed
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project
from bakeoff.run.measuring.orders import Done, run_in_fresh_process


def measure_unit(
    project: Project,
    jobs: Sequence[PlannedJob],
    by_run: Mapping[str, Champion],
    share: Share,
    advance: Advance,
) -> None:
    """Measure the jobs of a unit on this machine; every attempt, good or failed, is on disk then.

    Args:
        project: Whose stores are used.
        jobs: The reference of a heat first; it may be run beside the others without being measured.
        by_run: Champions by their run.
        share: Gets what became of each job.
        advance: Told each step.
    """
    if isinstance(jobs[0].job.scenario, Interleaved):
        measure_heat(project, jobs, by_run, share, advance)
    elif not jobs[0].job.scenario.is_timed:
        measure_untimed(project, jobs, by_run, share, advance)
    else:
        for planned in jobs:
            _measure_alone(project, planned, by_run[planned.job.champion_run_id], share, advance)


def count_steps(jobs: Sequence[PlannedJob]) -> int:
    """How often ``advance`` is called at least while jobs of one unit are measured."""
    return _n_repeats(jobs[0].job) if jobs[0].job.scenario.is_timed else len(jobs)


def choose_timeout_s(job: Job, timeout_s: float) -> float:
    """After what time a process that measures a job alone is ended.

    A server's search may spend its whole budget, and must come to its end all the same.

    Args:
        job: What it measures.
        timeout_s: Of all that has no budget: loading, warming up, measuring quality.
    """
    if job.protocol is None or not isinstance(job.scenario, Server):
        return timeout_s
    return timeout_s + job.scenario.longest_search_s(job.protocol)


def _measure_alone(
    project: Project, planned: PlannedJob, champion: Champion, share: Share, advance: Advance
) -> None:
    """All repeats of a job that no other is measured beside; outcomes on disk are not repeated."""
    job, done = planned.job, list[Done]()
    begin_s = time.monotonic()
    try:
        with share.beating():
            work = make_ready(project, planned, champion)
        for repeat in range(_n_repeats(job)):
            folder = project.results.work_folder(job, planned.attempt, f"repeat-{repeat}")
            order = make_order(project, work, repeat)
            timeout_s = choose_timeout_s(job, project.settings.benchmark.timeout_s)
            done.append(run_in_fresh_process(order, folder, timeout_s, on_wait=share.beat))
            advance(f"{job.label} {repeat + 1}/{_n_repeats(job)}")
    except EndsOneJob as error:
        share.outcomes.fail(project, planned, error, merge_repeats([each.readings for each in done]))
        return
    readings = merge_repeats([each.readings for each in done])
    flags = judge_measurement(
        job,
        readings,
        done[0].environment,
        n_truncated=done[0].n_truncated,
        token_limit=open_checkpoint(work.checkpoint).token_limit(job.max_length),
        accepts_contention=project.settings.benchmark.accept_contended,
    )
    measurement = Measurement(
        job=job,
        attempt=planned.attempt,
        measured_at=now_text(),
        environment=done[0].environment,
        runtime_facts=done[0].facts,
        readings=readings,
        flags=(*flags, *flag_mixed([each.environment for each in done])),
        wall_s=time.monotonic() - begin_s,
        timed_s=0.0,
    )
    share.outcomes.keep(project, measurement)
    shutil.rmtree(project.results.work_folder(job, planned.attempt), ignore_errors=True)


def _n_repeats(job: Job) -> int:
    return job.protocol.min_repeats if job.protocol else 1
