"""The plan: which jobs run, which are reused, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from bakeoff.core.records import Champion, Job
from bakeoff.core.run_mode import RunMode, has_work
from bakeoff.record import Record

State = Literal["valid", "invalid", "failed"]
Action = Literal["measure", "log", "reuse", "leave"]

_IN_WORDS = {
    "data_fingerprint": "other training data",
    "eval_fingerprint": "other evaluation",
    "inputs_digest": "other input texts",
    "checkpoint_digest": "other checkpoint",
    "key_version": "older key version",
}


class ExistingBenchmark(Record):
    """A measurement or failed attempt that the tracking store or the disk knows.

    Attributes:
        parts: Its identity by name, as ``Job.parts``; empty where the writer left none.
        state: ``invalid`` was measured but does not count; ``failed`` has no numbers.
        reason: Of an invalid or failed one.
        run_id: In the tracking store; None if only the disk has it.
        on_disk: Whether this machine holds the readings.
    """

    key: str
    champion_run_id: str
    parts: Mapping[str, str] = {}
    state: State
    attempt: int = 1
    reason: str = ""
    measured_at: str = ""
    run_id: str | None = None
    on_disk: bool = False


class PlannedJob(Record):
    """One job and what is to be done about it.

    Attributes:
        action: ``measure`` it; ``log`` what is measured but not yet in the tracking store; ``reuse`` it;
            ``leave`` it, since its attempts are used up or the run mode starts nothing new.
        reason: For the user's eyes.
        attempt: Number of the next attempt, or of the one that is reused.
        run_id: Of the run that is reused; None if there is none.
    """

    job: Job
    action: Action
    reason: str
    attempt: int
    run_id: str | None = None


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


def plan_jobs(
    jobs: Sequence[Job],
    existing: Sequence[ExistingBenchmark],
    mode: RunMode,
    max_attempts: int,
) -> Plan:
    """Decide about each job; matching is by benchmark key and nothing else.

    Args:
        jobs: What is asked for.
        existing: All benchmarks of these champions.
        mode: Run mode of the benchmark.
        max_attempts: Failed and invalid attempts after which a job is left alone.
    """
    by_key: dict[str, list[ExistingBenchmark]] = defaultdict(list)
    for benchmark in existing:
        by_key[benchmark.key].append(benchmark)
    begun = {benchmark.champion_run_id for benchmark in existing}
    return Plan(
        jobs=tuple(
            _plan_job(
                job,
                same_key=by_key[job.key],
                existing=existing,
                mode=mode,
                max_attempts=max_attempts,
                champion_is_begun=job.champion_run_id in begun,
            )
            for job in jobs
        )
    )


def filter_missing_benchmarks(champions: Sequence[Champion], plan: Plan) -> list[Champion]:
    """The champions for which anything is left to measure."""
    wanted = {planned.job.champion_run_id for planned in plan.todo}
    return [champion for champion in champions if champion.run_id in wanted]


def find_nearest(job: Job, existing: Sequence[ExistingBenchmark]) -> ExistingBenchmark | None:
    """The benchmark of the same champion that shares most parts with a job."""
    candidates = [
        benchmark
        for benchmark in existing
        if benchmark.champion_run_id == job.champion_run_id and benchmark.parts
    ]
    return min(
        candidates,
        key=lambda benchmark: (len(find_differences(job.parts, benchmark.parts)), benchmark.key),
        default=None,
    )


def find_differences(
    wanted: Mapping[str, str], found: Mapping[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    """Each part that differs, with the value found and the value wanted."""
    return {
        name: (found.get(name), wanted.get(name))
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    }


def _plan_job(
    job: Job,
    *,
    same_key: Sequence[ExistingBenchmark],
    existing: Sequence[ExistingBenchmark],
    mode: RunMode,
    max_attempts: int,
    champion_is_begun: bool,
) -> PlannedJob:
    last = max((benchmark.attempt for benchmark in same_key), default=0)
    done = [benchmark for benchmark in same_key if benchmark.state == "valid"]
    spoilt = [benchmark for benchmark in same_key if benchmark.state != "valid"]
    if done and mode is not RunMode.FORCE_NEW:
        return _reuse(job, done)
    if mode is RunMode.FORCE_NEW:
        return PlannedJob(job=job, action="measure", reason="run.mode is force_new", attempt=last + 1)
    attempts = len({benchmark.attempt for benchmark in spoilt})
    if attempts >= max_attempts:
        why = max(spoilt, key=lambda benchmark: benchmark.attempt)
        reason = f"{attempts} of {max_attempts} attempts used up; the last: {why.state}: {why.reason}"
        return PlannedJob(job=job, action="leave", reason=reason, attempt=last)
    if not has_work(mode, exists=champion_is_begun, is_complete=False):
        reason = "run.mode is resume_if_incomplete, and nothing of this champion was begun"
        return PlannedJob(job=job, action="leave", reason=reason, attempt=last)
    if spoilt:
        why = max(spoilt, key=lambda benchmark: benchmark.attempt)
        word = "invalid" if why.state == "invalid" else "failed"
        reason = f"earlier attempt {word}: {why.reason}"
    else:
        reason = _why_new(job, existing)
    return PlannedJob(job=job, action="measure", reason=reason, attempt=last + 1)


def _reuse(job: Job, done: Sequence[ExistingBenchmark]) -> PlannedJob:
    newest = max(done, key=lambda benchmark: (benchmark.attempt, benchmark.run_id or ""))
    if newest.run_id is not None:
        reason = f"measured {newest.measured_at}, run {newest.run_id}"
        return PlannedJob(
            job=job, action="reuse", reason=reason, attempt=newest.attempt, run_id=newest.run_id
        )
    reason = f"measured {newest.measured_at}, not yet in the tracking store"
    return PlannedJob(job=job, action="log", reason=reason, attempt=newest.attempt)


def _why_new(job: Job, existing: Sequence[ExistingBenchmark]) -> str:
    nearest = find_nearest(job, existing)
    if nearest is None:
        return "new champion"
    return describe_differences(job, find_differences(job.parts, nearest.parts))


def describe_differences(job: Job, differences: Mapping[str, tuple[str | None, str | None]]) -> str:
    """One line that says what sets a job apart from a benchmark."""
    if "scenario.kind" in differences:
        return f"new scenario: {job.scenario.kind}"
    if "runtime.kind" in differences:
        return f"new runtime: {job.runtime.label}"
    lines: list[str] = []
    for name, (found, wanted) in differences.items():
        if name.startswith("hardware."):
            line = "other hardware"
        elif name in _IN_WORDS:
            line = _IN_WORDS[name]
        else:
            leaf = name.rsplit(".", 1)[-1]
            line = f"config changed: {leaf} ({found or 'unset'} → {wanted or 'unset'})"
        if line not in lines:
            lines.append(line)
    return "; ".join(lines)
