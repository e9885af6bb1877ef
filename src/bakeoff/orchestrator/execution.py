"""Carry out planned jobs: alone in fresh processes, or together in heats. Every result is kept at once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

from bakeoff.core.plan import Plan, PlannedJob
from bakeoff.core.records import Champion, Job, Measurement
from bakeoff.core.validity import judge_measurement
from bakeoff.measure.checkpoint import open_checkpoint
from bakeoff.measure.readings import merge_generations
from bakeoff.measure.scenarios import Interleaved
from bakeoff.orchestrator.heats import group_heats, measure_heat, protocol_of
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project
from bakeoff.orchestrator.sharing import Share
from bakeoff.orchestrator.works import EndsOneJob, flag_mixed, make_order, make_ready, now_text
from bakeoff.run.isolation import Done, run_in_fresh_process


def measure_all(project: Project, champions: Sequence[Champion], plan: Plan, share: Share) -> None:
    """Measure what a plan says and no other machine does; every attempt, good or failed, is on disk then.

    Args:
        project: Whose stores are used.
        champions: Whose checkpoints are measured.
        plan: All jobs; one that is reused may be run beside new ones as their reference.
        share: Takes jobs, one or one heat at a time, gets what became of them, and sends it.
    """
    todo = plan.todo
    by_run = {champion.run_id: champion for champion in champions}
    heats = group_heats(plan)
    alone = [planned for planned in todo if not isinstance(planned.job.scenario, Interleaved)]
    n_steps = sum(_n_generations(planned.job) for planned in alone) + sum(
        protocol_of(group[0].job).min_generations for group in heats
    )
    with project.progress.track("bench", n_steps) as advance:
        for planned in alone:
            champion = by_run[planned.job.champion_run_id]
            if (mine := share.take(planned)) is not None:
                _measure_alone(project, mine, champion, share, advance)
                share.settle([mine])
        for group in heats:
            if ours := share.take_together(group):
                measure_heat(project, ours, by_run, share, advance)
                share.settle(ours)


def _measure_alone(
    project: Project, planned: PlannedJob, champion: Champion, share: Share, advance: Advance
) -> None:
    """All generations of a job that no other is measured beside; outcomes on disk are not repeated."""
    job, done = planned.job, list[Done]()
    begin_s = time.monotonic()
    try:
        with share.beating():
            work = make_ready(project, planned, champion)
        for generation in range(_n_generations(job)):
            folder = project.results.work_folder(job, planned.attempt, f"generation-{generation}")
            order = make_order(project, work, generation)
            timeout_s = project.settings.benchmark.timeout_s
            done.append(run_in_fresh_process(order, folder, timeout_s, on_wait=share.beat))
            advance(f"{job.label} {generation + 1}/{_n_generations(job)}")
    except EndsOneJob as error:
        share.outcomes.fail(project, planned, error)
        return
    readings = merge_generations([each.readings for each in done])
    flags = judge_measurement(
        job,
        readings,
        done[0].environment,
        n_truncated=done[0].n_truncated,
        token_limit=open_checkpoint(work.checkpoint).token_limit(job.max_length),
        run_delay_share=max(each.run_delay_share for each in done),
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


def _n_generations(job: Job) -> int:
    return job.protocol.min_generations if job.protocol else 1
