"""The plan: which jobs run, which are reused, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Literal

from bakeoff.core.plan.existing import (
    ExistingBenchmark,
    agrees,
    describe_differences,
    find_differences,
    find_nearest,
)
from bakeoff.core.records import Champion, Job
from bakeoff.core.run_mode import RunMode, Step, choose_step
from bakeoff.disk.digest import shorten
from bakeoff.errors import JobNotFoundError
from bakeoff.record import Record

Action = Literal["measure", "log", "reuse", "leave"]


class PlannedJob(Record):
    """One job and what is to be done about it.

    Attributes:
        action: ``measure`` it; ``log`` what is measured but not yet in the tracking store; ``reuse`` it;
            ``leave`` it, since its attempts are used up or the run mode starts nothing new.
        reason: For the user's eyes.
        attempt: Number of the next attempt, or of the one that is reused.
        run_id: Of the run that is reused; None if there is none.
        has_readings: Whether what is reused can be ranked; an older writer left no readings.
        last_reason: Of a job whose attempts are used up, the reason why the last of them does not count.
    """

    job: Job
    action: Action
    reason: str
    attempt: int
    run_id: str | None = None
    has_readings: bool = True
    last_reason: str = ""


class Plan(Record):
    """Every job, in the order in which it was asked for."""

    jobs: tuple[PlannedJob, ...]

    @property
    def todo(self) -> tuple[PlannedJob, ...]:
        """Jobs that will be measured."""
        return tuple(planned for planned in self.jobs if planned.action == "measure")

    @property
    def reused(self) -> tuple[PlannedJob, ...]:
        """Jobs whose measurement exists, logged or not."""
        return tuple(planned for planned in self.jobs if planned.action in ("reuse", "log"))

    @property
    def left(self) -> tuple[PlannedJob, ...]:
        """Jobs that are neither measured nor run."""
        return tuple(planned for planned in self.jobs if planned.action == "leave")


class PartComparison(Record):
    """One part of an identity: as found at a benchmark, as wanted by a job; None where a side lacks it."""

    name: str
    found: str | None
    wanted: str | None

    @property
    def is_same(self) -> bool:
        """Whether both sides say the same."""
        return self.found == self.wanted


class Explanation(Record):
    """A planned job beside the existing benchmark that is nearest to it.

    Attributes:
        nearest: Of the same champion; None if nothing of it is measured.
        parts: Every part of the identity.
    """

    planned: PlannedJob
    nearest: ExistingBenchmark | None
    parts: tuple[PartComparison, ...]


def plan_jobs(
    jobs: Sequence[Job],
    existing: Sequence[ExistingBenchmark],
    mode: RunMode,
    max_attempts: int,
    interrupted: Collection[str] = (),
) -> Plan:
    """Decide about each job; matching is by benchmark key, or for older writers by all that they recorded.

    Args:
        jobs: What is asked for. Those of one champion are its benchmark, which is begun when one of them is.
        existing: All benchmarks of these champions.
        mode: Run mode of the benchmark.
        max_attempts: Failed and invalid attempts after which a job is left alone.
        interrupted: Key digests of jobs of which a part is measured.
    """
    by_key: dict[str, list[ExistingBenchmark]] = defaultdict(list)
    keyless: dict[str, list[ExistingBenchmark]] = defaultdict(list)
    for benchmark in existing:
        if benchmark.key is not None:
            by_key[benchmark.key].append(benchmark)
        else:
            keyless[benchmark.champion_run_id].append(benchmark)
    found = [
        [*by_key[job.key], *(each for each in keyless[job.champion_run_id] if agrees(each.parts, job))]
        for job in jobs
    ]
    begun = {
        job.champion_run_id
        for job, same in zip(jobs, found, strict=True)
        if job.key_digest in interrupted or any(benchmark.state != "deleted" for benchmark in same)
    }
    return Plan(
        jobs=tuple(
            _plan_job(
                job,
                same=same,
                existing=existing,
                mode=mode,
                max_attempts=max_attempts,
                is_begun=job.champion_run_id in begun,
            )
            for job, same in zip(jobs, found, strict=True)
        )
    )


def champions_to_measure(champions: Sequence[Champion], plan: Plan) -> list[Champion]:
    """The champions for which anything is left to measure."""
    wanted = {planned.job.champion_run_id for planned in plan.todo}
    return [champion for champion in champions if champion.run_id in wanted]


def find_planned(plan: Plan, text: str) -> PlannedJob:
    """The one job that is meant by its label, its key, the key's digest, or the beginning of either.

    Raises:
        JobNotFoundError: No job is meant, or several.
    """
    exact = [
        planned
        for planned in plan.jobs
        if text in (planned.job.label, planned.job.key, planned.job.key_digest)
    ]
    begins = [
        planned
        for planned in plan.jobs
        if text and (planned.job.key.startswith(text) or planned.job.key_digest.startswith(text))
    ]
    meant = exact or begins
    if len(meant) != 1:
        candidates = [f"{shorten(each.job.key_digest)}  {each.job.label}" for each in meant or plan.jobs]
        raise JobNotFoundError(text, candidates, is_ambiguous=bool(meant))
    return meant[0]


def explain_job(planned: PlannedJob, existing: Sequence[ExistingBenchmark]) -> Explanation:
    """Set a job beside the benchmark that is nearest to it, part by part."""
    nearest = find_nearest(planned.job, existing)
    wanted, found = planned.job.parts, dict(nearest.parts) if nearest else {}
    return Explanation(
        planned=planned,
        nearest=nearest,
        parts=tuple(
            PartComparison(name=name, found=found.get(name), wanted=wanted.get(name))
            for name in [*wanted, *sorted(found.keys() - wanted.keys())]
        ),
    )


def _plan_job(
    job: Job,
    *,
    same: Sequence[ExistingBenchmark],
    existing: Sequence[ExistingBenchmark],
    mode: RunMode,
    max_attempts: int,
    is_begun: bool,
) -> PlannedJob:
    done = [benchmark for benchmark in same if benchmark.state == "valid"]
    last = max((benchmark.attempt for benchmark in same), default=0)
    step = choose_step(mode, exists=is_begun, is_complete=bool(done))
    if mode is RunMode.FORCE_NEW:
        return PlannedJob(job=job, action="measure", reason="run.mode is force_new", attempt=last + 1)
    if done:
        return _reuse(job, done)
    failed = [benchmark for benchmark in same if benchmark.state in ("invalid", "failed")]
    attempts = len({benchmark.attempt for benchmark in failed})
    if attempts >= max_attempts:
        why = _last(failed)
        reason = f"{attempts} of {max_attempts} attempts used up; the last: {why.state}: {why.reason}"
        return PlannedJob(job=job, action="leave", reason=reason, attempt=last, last_reason=why.reason)
    if step is Step.LEAVE:
        reason = "run.mode is resume_if_incomplete, and nothing of this champion was begun"
        return PlannedJob(job=job, action="leave", reason=reason, attempt=last)
    return PlannedJob(job=job, action="measure", reason=_why(job, same, existing), attempt=last + 1)


def _reuse(job: Job, done: Sequence[ExistingBenchmark]) -> PlannedJob:
    keyed = [benchmark for benchmark in done if benchmark.key is not None]
    newest = max(keyed or done, key=lambda benchmark: (benchmark.attempt, benchmark.run_id or ""))
    if newest.key is None:
        reason = (
            f"measured {newest.measured_at}, run {newest.run_id} of an older writer, whose settings agree; "
            "it left no readings to rank: force_new measures again"
        )
        return PlannedJob(
            job=job,
            action="reuse",
            reason=reason,
            attempt=newest.attempt,
            run_id=newest.run_id,
            has_readings=False,
        )
    if newest.run_id is not None:
        reason = f"measured {newest.measured_at}, run {newest.run_id}"
        return PlannedJob(
            job=job, action="reuse", reason=reason, attempt=newest.attempt, run_id=newest.run_id
        )
    reason = f"measured {newest.measured_at}, not yet in the tracking store"
    return PlannedJob(job=job, action="log", reason=reason, attempt=newest.attempt)


def _why(job: Job, same: Sequence[ExistingBenchmark], existing: Sequence[ExistingBenchmark]) -> str:
    """Why a job is measured of which nothing counts."""
    if same:
        last = _last(same)
        return last.reason if last.state == "deleted" else f"earlier attempt {last.state}: {last.reason}"
    nearest = find_nearest(job, existing)
    if nearest is None:
        return "new champion"
    differences = find_differences(job.parts, nearest.parts)
    return describe_differences(job, differences)


def _last(benchmarks: Sequence[ExistingBenchmark]) -> ExistingBenchmark:
    return max(benchmarks, key=lambda benchmark: (benchmark.attempt, benchmark.state, benchmark.reason))
