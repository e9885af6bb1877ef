"""Carry out planned jobs on this machine: in heats, in parallel where nothing is timed, or alone.

Every result is kept at once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping

from bakeoff.core.job import Job, TimedJob
from bakeoff.core.plan.jobs import Plan, PlannedJob
from bakeoff.core.records import Measurement
from bakeoff.core.validity.judge import judge_measurement
from bakeoff.measure.scenarios import Interleaved, Server
from bakeoff.measure.statistics.readings import merge_repeats
from bakeoff.orchestrator.bench.claims import BenchClaims
from bakeoff.orchestrator.bench.heat import measure_heat
from bakeoff.orchestrator.bench.limits import TIMEOUT_S
from bakeoff.orchestrator.bench.prepare import EndsOneJob, flag_mixed, make_order, now_text, prepare_job
from bakeoff.orchestrator.bench.race import Race
from bakeoff.orchestrator.bench.untimed import measure_untimed
from bakeoff.orchestrator.bench.work_units import WorkUnit, list_units
from bakeoff.orchestrator.progress import Advance, warn
from bakeoff.orchestrator.project import Project
from bakeoff.run.machine.lock import measuring
from bakeoff.run.measuring.orders import Done, run_in_process


def measure_here(project: Project, plan: Plan, claims: BenchClaims, used_up: Mapping[str, int]) -> None:
    """Measure the jobs of a plan on this machine, one work unit after the other, under its lock.

    Every attempt is on disk when this returns, good or failed. Jobs that another command holds are skipped.

    Args:
        project: Project of the jobs.
        plan: All jobs; a reused one may run next to new ones as their reference.
        claims: Takes jobs, and gets and sends their outcomes.
        used_up: Unused here: a machine that dies takes its command with it.
    """
    del used_up
    units = list_units(plan, 1, may_split=False)
    race = Race(project, plan, claims.outcomes)
    with measuring(warn), project.progress.track("bench", sum(map(count_steps, units))) as advance:
        for unit in units:
            wanted = race.skip_hopeless(unit)
            if wanted and (taken := claims.take_unit(wanted)):
                measure_unit(project, taken, claims, advance, race)
                claims.settle(taken)


def measure_unit(
    project: Project, unit: WorkUnit, claims: BenchClaims, advance: Advance, race: Race | None = None
) -> None:
    """Measure one work unit on this machine; every attempt is on disk then, good or failed.

    Args:
        project: Project of the jobs.
        unit: Jobs, the reference of a heat first; it may run without being measured.
        claims: Gets the outcome of each job.
        advance: Called after each step.
        race: Race of the bench; None measures everything.
    """
    scenario = unit[0].job.scenario
    if isinstance(scenario, Interleaved):
        measure_heat(project, unit, claims, advance, race)
    elif not scenario.is_timed:
        measure_untimed(project, unit, claims, advance)
    else:
        for planned in unit:
            _measure_alone(project, planned, claims, advance)


def count_steps(unit: WorkUnit) -> int:
    """Count the least number of times that ``advance`` is called for a work unit."""
    return _n_repeats(unit[0].job) if unit[0].job.scenario.is_timed else len(unit)


def choose_timeout_s(job: Job, timeout_s: float) -> float:
    """Choose the time after which a process that measures a job alone is killed, in s.

    The search of a server may use its whole budget, and must still come to its end.

    Args:
        job: Job that the process measures.
        timeout_s: Time for everything without budget: loading, warm-up, quality.
    """
    if not isinstance(job, TimedJob) or not isinstance(job.scenario, Server):
        return timeout_s
    return timeout_s + job.scenario.longest_search_s(job.protocol)


def _measure_alone(project: Project, planned: PlannedJob, claims: BenchClaims, advance: Advance) -> None:
    """Run all repeats of a job that is measured alone; outcomes on disk are not repeated."""
    job, done = planned.job, list[Done]()
    begin_s = time.monotonic()
    try:
        with claims.beating():
            prepared = prepare_job(project, planned)
        for repeat in range(_n_repeats(job)):
            folder = project.results.work_folder(job, planned.attempt, f"repeat-{repeat}")
            order = make_order(project, prepared, repeat)
            timeout_s = choose_timeout_s(job, project.settings.benchmark.timeout_s or TIMEOUT_S)
            done.append(run_in_process(order, folder, timeout_s, on_wait=claims.beat))
            advance(f"{job.label} {repeat + 1}/{_n_repeats(job)}")
    except EndsOneJob as error:
        claims.outcomes.fail(project, planned, error, merge_repeats([each.readings for each in done]))
        return
    readings = merge_repeats([each.readings for each in done])
    flags = judge_measurement(
        job,
        readings,
        done[0].environment,
        n_truncated=done[0].n_truncated,
        token_limit=prepared.token_limit,
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
    claims.outcomes.keep(project, measurement)
    shutil.rmtree(project.results.work_folder(job, planned.attempt), ignore_errors=True)


def _n_repeats(job: Job) -> int:
    return job.protocol.min_repeats if isinstance(job, TimedJob) else 1
