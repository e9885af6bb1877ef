"""The plan: which jobs run, which are reused, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple

from bakeoff.core.job import Job, in_full, is_race
from bakeoff.core.plan.existing import (
    ExistingBenchmark,
    agrees,
    describe_differences,
    find_differences,
    find_nearest,
)
from bakeoff.core.records import AnyModel, Champion
from bakeoff.core.run_mode import RunMode, Step, choose_step
from bakeoff.disk.digest import shorten
from bakeoff.errors import JobNotFoundError
from bakeoff.record import Record

Action = Literal["measure", "log", "reuse", "leave"]


class AskedJob(NamedTuple):
    """A job that is asked for, with the model that it measures."""

    job: Job
    model: AnyModel


class PlannedJob(Record):
    """One job, its model, and the action planned for it.

    Attributes:
        model: Model that the job measures, with its checkpoint as far as that is known.
        action: ``measure`` it; ``log`` a measurement that the tracking store does not have yet; ``reuse`` it;
            ``leave`` it, because its attempts are used up or the run mode starts nothing new.
        reason: Why this action, in words.
        attempt: Number of the next attempt, or of the reused one.
        run_id: Run of the reused measurement; None without one.
        has_readings: Whether the reused measurement can be ranked; older writers kept no readings.
        last_reason: Why the last attempt does not count, if all attempts are used up.
    """

    job: Job
    model: AnyModel
    action: Action
    reason: str
    attempt: int
    run_id: str | None = None
    has_readings: bool = True
    last_reason: str = ""

    @property
    def is_at_rest(self) -> bool:
        """Whether the run mode alone leaves it: nothing failed."""
        return self.action == "leave" and not self.last_reason


class Plan(Record):
    """Every job that was asked for, in that order."""

    jobs: tuple[PlannedJob, ...]

    @property
    def models(self) -> tuple[AnyModel, ...]:
        """Every model once, in the order of the jobs."""
        return _once(self.jobs)

    @property
    def models_to_measure(self) -> tuple[AnyModel, ...]:
        """Models with a job that will be measured."""
        return _once(self.todo)

    @property
    def todo(self) -> tuple[PlannedJob, ...]:
        """Jobs that will be measured."""
        return tuple(planned for planned in self.jobs if planned.action == "measure")

    @property
    def reused(self) -> tuple[PlannedJob, ...]:
        """Jobs with a measurement, logged or not."""
        return tuple(planned for planned in self.jobs if planned.action in ("reuse", "log"))

    @property
    def left(self) -> tuple[PlannedJob, ...]:
        """Jobs that are neither measured nor run."""
        return tuple(planned for planned in self.jobs if planned.action == "leave")


class PartComparison(Record):
    """One part of an identity: as a benchmark has it, as a job wants it; None if a side does not have it."""

    name: str
    found: str | None
    wanted: str | None

    @property
    def is_same(self) -> bool:
        """Whether both sides are equal."""
        return self.found == self.wanted


class Explanation(Record):
    """A planned job compared with the existing benchmark nearest to it.

    Attributes:
        nearest: Benchmark of the same model; None if nothing of it is measured.
        parts: Every part of the identity.
    """

    planned: PlannedJob
    nearest: ExistingBenchmark | None
    parts: tuple[PartComparison, ...]


def plan_jobs(
    asked: Sequence[AskedJob],
    existing: Sequence[ExistingBenchmark],
    mode: RunMode,
    max_attempts: int,
    interrupted: Collection[str] = (),
) -> Plan:
    """Choose an action for each job.

    Benchmarks match by key. Those of older writers match by everything that they recorded.

    Args:
        asked: Jobs to plan. All jobs of one model are its benchmark, which is begun once one of them is.
        existing: All benchmarks of these models.
        mode: Run mode of the benchmark.
        max_attempts: Failed and invalid attempts after which a job is not tried again.
        interrupted: Key digests of jobs that are measured in part.
    """
    done = {benchmark.key for benchmark in existing if benchmark.state == "valid"}
    twins = choose_twins([each.job for each in asked], lambda job: job.key in done)
    asked = [AskedJob(job, each.model) for job, each in zip(twins, asked, strict=True)]
    jobs = [each.job for each in asked]
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
                each,
                same=same,
                existing=existing,
                mode=mode,
                max_attempts=max_attempts,
                is_begun=each.job.champion_run_id in begun,
            )
            for each, same in zip(asked, found, strict=True)
        )
    )


def choose_twins(jobs: Sequence[Job], has: Callable[[Job], bool]) -> list[Job]:
    """Choose the measurement that answers each job of a race: its own, or one with all intervals.

    Ratios join only measurements with the same reference. So the jobs of a scenario are answered in one way
    as far as possible: in full if none of them would lose its measurement.

    Args:
        jobs: Jobs; those that are no race stay as they are.
        has: Whether a job has a measurement that counts.
    """
    if not any(map(is_race, jobs)):
        return [*jobs]
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.scenario.model_dump_json()].append(job)
    are_full = {
        scenario: all(has(in_full(job)) or not has(job) for job in group)
        for scenario, group in groups.items()
    }

    def choose(job: Job) -> Job:
        full = in_full(job)
        is_full = has(full) and (are_full[job.scenario.model_dump_json()] or not has(job))
        return full if is_full else job

    return [choose(job) for job in jobs]


def find_planned(plan: Plan, text: str) -> PlannedJob:
    """Find the one job with this label, key or key digest, or with a key or digest that begins so.

    Raises:
        JobNotFoundError: No job matches, or several do.
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
    """Compare a job with the benchmark nearest to it, part by part."""
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
    asked: AskedJob,
    *,
    same: Sequence[ExistingBenchmark],
    existing: Sequence[ExistingBenchmark],
    mode: RunMode,
    max_attempts: int,
    is_begun: bool,
) -> PlannedJob:
    job, model = asked
    done = [benchmark for benchmark in same if benchmark.state == "valid"]
    last = max((benchmark.attempt for benchmark in same), default=0)
    step = choose_step(mode, exists=is_begun, is_complete=bool(done))
    if mode is RunMode.FORCE_NEW:
        return PlannedJob(
            job=job, model=model, action="measure", reason="run.mode is force_new", attempt=last + 1
        )
    if done:
        return _reuse(asked, done)
    failed = [benchmark for benchmark in same if benchmark.state in ("invalid", "failed")]
    attempts = len({benchmark.attempt for benchmark in failed})
    if attempts >= max_attempts:
        why = _last(failed)
        reason = f"{attempts} of {max_attempts} attempts are used up; the last was {why.state}: {why.reason}"
        return PlannedJob(
            job=job, model=model, action="leave", reason=reason, attempt=last, last_reason=why.reason
        )
    if step is Step.LEAVE:
        reason = f"run.mode is resume_if_incomplete, and no job of this {_name_kind(model)} was begun"
        return PlannedJob(job=job, model=model, action="leave", reason=reason, attempt=last)
    return PlannedJob(
        job=job, model=model, action="measure", reason=_why(asked, same, existing), attempt=last + 1
    )


def _reuse(asked: AskedJob, done: Sequence[ExistingBenchmark]) -> PlannedJob:
    keyed = [benchmark for benchmark in done if benchmark.key is not None]
    newest = max(keyed or done, key=lambda benchmark: (benchmark.attempt, benchmark.run_id or ""))
    if newest.key is None:
        reason = (
            f"measured {newest.measured_at}, run {newest.run_id} of an older writer with equal settings; "
            "it has no readings to rank, so set run.mode force_new to measure again"
        )
        return PlannedJob(
            job=asked.job,
            model=asked.model,
            action="reuse",
            reason=reason,
            attempt=newest.attempt,
            run_id=newest.run_id,
            has_readings=False,
        )
    if newest.run_id is not None:
        reason = f"measured {newest.measured_at}, run {newest.run_id}"
        return PlannedJob(
            job=asked.job,
            model=asked.model,
            action="reuse",
            reason=reason,
            attempt=newest.attempt,
            run_id=newest.run_id,
        )
    reason = f"measured {newest.measured_at}, not yet in the tracking store"
    return PlannedJob(job=asked.job, model=asked.model, action="log", reason=reason, attempt=newest.attempt)


def _why(asked: AskedJob, same: Sequence[ExistingBenchmark], existing: Sequence[ExistingBenchmark]) -> str:
    """Return why a job is measured again."""
    job = asked.job
    if same:
        last = _last(same)
        return last.reason if last.state == "deleted" else f"earlier attempt {last.state}: {last.reason}"
    nearest = find_nearest(job, existing)
    if nearest is None:
        return f"new {_name_kind(asked.model)}"
    differences = find_differences(job.parts, nearest.parts)
    return describe_differences(job, differences)


def _name_kind(model: AnyModel) -> str:
    return "champion" if isinstance(model, Champion) else "model"


def _once(jobs: Sequence[PlannedJob]) -> tuple[AnyModel, ...]:
    return tuple({planned.model.run_id: planned.model for planned in jobs}.values())


def _last(benchmarks: Sequence[ExistingBenchmark]) -> ExistingBenchmark:
    return max(benchmarks, key=lambda benchmark: (benchmark.attempt, benchmark.state, benchmark.reason))
