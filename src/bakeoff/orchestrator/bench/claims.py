"""Claims of one bench: jobs that this command takes, and jobs that it leaves to other machines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.plan.jobs import AskedJob, Plan, PlannedJob, plan_jobs
from bakeoff.core.records import Attempt, FailedAttempt
from bakeoff.core.run_mode import RunMode
from bakeoff.errors import TrackingError
from bakeoff.measure.scenarios import Interleaved
from bakeoff.orchestrator.bench.prepare import JobOutcomes
from bakeoff.orchestrator.bench.upload import send
from bakeoff.orchestrator.bench.work_units import WorkUnit
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.plural import count
from bakeoff.stores.claims.claims import Claim, End, Held, Published

# Longest time between two looks at the commands that are waited for.
MAX_LOOK_S = 5.0
LOOKS_PER_EXPIRY = 10
# Time between two progress lines while waiting.
REPORT_S = 60.0
# A published job is planned again, in case the plan was too early; but not more often than this.
MAX_PUBLISHED = 3
# Failed looks in a row that count as an outage.
MAX_LOST_LOOKS = 3


class BenchClaims:
    """Claims of one command, from the first job until the last result is sent.

    Without a store, offline or in an outage, every job is taken: publication decides which result counts.

    Args:
        project: Project with the stores.
        is_asking: Whether to ask the ledger before measuring. If not, every job is taken.

    Attributes:
        outcomes: JobOutcomes of the jobs that were taken.
        deferred: Jobs that other commands measure, or have measured meanwhile, by key digest.
    """

    def __init__(self, project: Project, *, is_asking: bool = True) -> None:
        self._project = project
        self._is_asking = is_asking and not project.is_offline
        self.outcomes = JobOutcomes()
        self._claims: dict[str, Claim] = {}
        self._taken: dict[str, PlannedJob] = {}
        self._sent: set[tuple[str, int]] = set()
        self._tried: set[tuple[str, int]] = set()
        self._published: Counter[str] = Counter()
        self._is_down = False
        self._is_replanned = False
        self.deferred: dict[str, PlannedJob] = {}

    def take_unit(self, unit: WorkUnit) -> WorkUnit | None:
        """Claim the jobs of a work unit.

        Returns:
            The claimed jobs, with a heat's reference first; None if other commands hold all of them.

        Raises:
            TrackingError: The store refuses to be written to.
        """
        if isinstance(unit[0].job.scenario, Interleaved):
            return tuple(self.take_together(unit)) or None
        return tuple(mine for planned in unit if (mine := self.take(planned))) or None

    def take(self, planned: PlannedJob) -> PlannedJob | None:
        """Claim a job.

        Returns:
            The job with the number of its attempt; None if another command holds it, for now at least.

        Raises:
            TrackingError: The store refuses to be written to.
        """
        digest = planned.job.key_digest
        self._taken[digest] = planned
        if not self._is_asking:
            return planned
        try:
            answer = self._project.claims.claim(
                digest, planned.attempt, is_forced=is_forced(self._project), is_replanned=self._is_replanned
            )
        except TrackingError as error:
            if error.is_refusal:
                raise  # better known before hours are spent
            warn(f"{planned.job.label}: measuring without a claim: {error}")
            return planned
        self._is_down = False
        if isinstance(answer, Claim):
            self._claims[digest] = answer
            return planned.replace(attempt=answer.attempt)
        if isinstance(answer, Held):
            warn(f"{planned.job.label}: skipped for now, while {answer.owner} measures it")
        elif isinstance(answer, Published):
            self._published[digest] += 1
            if self._published[digest] > MAX_PUBLISHED:
                warn(
                    f"{planned.job.label}: run {answer.run_id} counts in the ledger, but is "
                    "not valid; delete that run to measure again"
                )
                return None
        self.deferred[digest] = planned
        return None

    def take_together(self, group: Sequence[PlannedJob]) -> list[PlannedJob]:
        """Claim the jobs of a heat; empty if there is nothing in it for this machine.

        A heat is claimed whole: the command with its first job gets the rest. Jobs that remain after waiting
        for that command are taken alone. The reference stays in the heat, measured or not.
        """
        taken: list[PlannedJob] = []
        to_measure = [planned for planned in group if planned.action == "measure"]
        for planned in to_measure:
            is_lost = not taken and bool(self.deferred.keys() & _digests(to_measure))
            if is_lost and not self._is_replanned:
                self.deferred[planned.job.key_digest] = planned
            elif (mine := self.take(planned)) is not None:
                taken.append(mine)
        if not taken:
            return []
        reference = group[0]
        if reference.job.key not in {planned.job.key for planned in taken}:
            taken.insert(0, reference.replace(action="reuse"))
        return taken

    def settle(self, planned: Iterable[PlannedJob]) -> None:
        """Send the attempts of some jobs, and end their claims; in an outage ``finish`` does both."""
        digests = _digests(planned)
        for attempt in self._unsent():
            if attempt.job.key_digest in digests and not self._project.is_offline and not self._is_down:
                self._send(attempt)
        for unready in self.outcomes.unready:
            if unready.job.key_digest in digests:
                self._end(unready.job.key_digest, "released")

    def finish(self) -> list[Attempt]:
        """Send the rest, and return the attempts that wait for the next command."""
        self._is_down = False
        for attempt in self._unsent():
            if not self._project.is_offline and not self._is_down:
                self._send(attempt)
        return self._unsent()

    def beat(self) -> None:
        """Show that this command is alive, if it is time to."""
        self._project.claims.beat()

    def beating(self) -> AbstractContextManager[None]:
        """Show it from a thread, while nothing is measured."""
        return self._project.claims.beating() if self._claims else nullcontext()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Release unfinished claims on leaving, for any reason.

        A claim whose result is on this disk and could not be sent stays until it expires.
        """
        try:
            yield
        finally:
            kept = {attempt.job.key_digest for attempt in self._unsent()}
            for digest in list(self._claims):
                if digest not in kept and not self._is_down:
                    self._end(digest, "released")
            self._project.claims.close()

    def wait(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Wait until one of the deferred jobs is measured or released, or its holder is dead.

        Raises:
            TrackingError: The store went away; everything measured is safe.
        """
        look_s = min(MAX_LOOK_S, self._project.settings.tracking.claim_expiry_s / LOOKS_PER_EXPIRY)
        n_lost, reported_s = 0, -REPORT_S
        while True:
            try:
                holders = [self._project.claims.look(digest) for digest in self.deferred]
                n_lost = 0
            except TrackingError:
                n_lost += 1
                self._project.claims.forget()
                if n_lost >= MAX_LOST_LOOKS:
                    raise
                continue
            names = {holder.owner for holder in holders if holder is not None}
            if None in holders:
                return
            if now_s() - reported_s >= REPORT_S:
                reported_s = now_s()
                warn(f"waiting for {count(len(holders), 'job')} of {'; '.join(sorted(names))}")
            time.sleep(look_s)

    def plan_again(self, plan: Plan, existing: Sequence[ExistingBenchmark]) -> Plan:
        """Plan the deferred jobs again; no other job is measured again.

        Args:
            plan: Plan so far.
            existing: Benchmarks that exist by now.
        """
        deferred, self.deferred, self._is_replanned = self.deferred, {}, True
        known = [
            benchmark
            for benchmark in existing
            if not (
                is_forced(self._project)
                and benchmark.state == "valid"
                and any(
                    benchmark.key == planned.job.key and benchmark.attempt < planned.attempt
                    for planned in deferred.values()
                )
            )
        ]
        replanned = plan_jobs(
            [AskedJob(planned.job, planned.model) for planned in plan.jobs],
            known,
            RunMode.REUSE_IF_EXISTS,
            self._project.settings.benchmark.max_attempts,
        )
        return Plan(
            jobs=tuple(
                new
                if new.action != "measure" or new.job.key_digest in deferred
                else new.replace(action="leave")
                for new in replanned.jobs
            )
        )

    def _unsent(self) -> list[Attempt]:
        return [each for each in self.outcomes.kept if (each.job.key_digest, each.attempt) not in self._sent]

    def _send(self, attempt: Attempt) -> None:
        digest = attempt.job.key_digest
        place = (digest, attempt.attempt)
        was_tried = place in self._tried
        self._tried.add(place)
        try:
            with self.beating():
                logged = send(self._project, attempt, may_exist=was_tried)
        except TrackingError as error:
            self._is_down = True
            text = f"{attempt.job.label}: measured and safe on disk, but not logged: {error}"
            warn(text)
            return
        self._sent.add(place)
        if logged.superseded_by is not None:
            self.deferred[digest] = self._taken[digest]
        self._end(digest, _describe_end(attempt, is_superseded=logged.superseded_by is not None))

    def _end(self, digest: str, how: End) -> None:
        claim = self._claims.pop(digest, None)
        if claim is None:
            return
        try:
            self._project.claims.end(claim, how)
        except TrackingError as error:
            self._is_down = True
            warn(f"a claim was not released, and will expire: {error}")


def is_forced(project: Project) -> bool:
    """Return whether jobs with a valid measurement are measured again."""
    return project.benchmark_mode is RunMode.FORCE_NEW


def _describe_end(
    attempt: Attempt, *, is_superseded: bool
) -> Literal["published", "superseded", "failed", "invalid"]:
    if isinstance(attempt, FailedAttempt):
        return "failed"
    if not attempt.is_valid:
        return "invalid"
    return "superseded" if is_superseded else "published"


def _digests(planned: Iterable[PlannedJob]) -> Collection[str]:
    return {each.job.key_digest for each in planned}
