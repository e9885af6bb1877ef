"""The race of one bench: who needs no further measurement, from all that is known so far."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from bakeoff.core.config.settings import RunSettings
from bakeoff.core.decision.candidates import CandidateId, assemble_candidates, identify_candidate
from bakeoff.core.decision.production import Production
from bakeoff.core.decision.race import find_hopeless_among, hold_look
from bakeoff.core.job import Job, TimedJob, is_race
from bakeoff.core.plan.jobs import Plan
from bakeoff.core.records import Measurement
from bakeoff.measure.heats.records import HeatLook
from bakeoff.measure.scenarios import Interleaved
from bakeoff.orchestrator.bench.prepare import JobOutcomes
from bakeoff.orchestrator.bench.work_units import WorkUnit
from bakeoff.orchestrator.decide import find_production, find_stored
from bakeoff.orchestrator.plan import load_reused
from bakeoff.orchestrator.project import Project
from bakeoff.plural import count


class Race:
    """What a bench knows of its candidates while it measures; any other plan is measured whole.

    Args:
        project: Project of the jobs.
        plan: All jobs, the reference first.
        outcomes: Measurements that this bench makes.

    Attributes:
        dropped: Reason for each job of which a look needs no more repeats, by key; a reference runs on.
    """

    def __init__(self, project: Project, plan: Plan, outcomes: JobOutcomes) -> None:
        self._project = project
        self._plan = plan
        self._outcomes = outcomes
        self._settings = project.settings.decision.replace(run=RunSettings())
        self._is_race = any(is_race(planned.job) for planned in plan.todo)
        self._reused = load_reused(project, plan)
        self._out: dict[CandidateId, str] = {}
        self.dropped: dict[str, str] = {}

    def skip_hopeless(self, unit: WorkUnit) -> WorkUnit:
        """Skip the timed jobs of candidates that cannot win; the reference of a heat stays.

        Returns:
            The rest of the unit; empty if nothing in it is to be measured.
        """
        if not self._is_race or not isinstance(unit[0].job, TimedJob):
            return unit
        out = find_hopeless_among(self._known(), self._settings) | self._out
        kept = []
        for planned in unit:
            candidate = identify_candidate(planned.job)
            is_reference = planned is unit[0] and isinstance(planned.job.scenario, Interleaved)
            if candidate in out and not is_reference:
                self._outcomes.unneeded[planned.job.key] = f"not timed: {out[candidate]}"
            else:
                kept.append(planned)
        return tuple(kept) if any(planned.action == "measure" for planned in kept) else ()

    def look(self, partial: Sequence[Measurement], repeats: int, max_repeats: int) -> HeatLook:
        """Hold the contest after a repeat of a heat.

        Args:
            partial: Measurements of the candidates of the heat, from its repeats so far.
            repeats: Repeats that count.
            max_repeats: Repeats after which the heat ends in any case.
        """
        known = [each for each in self._known() if each.job.key not in {one.job.key for one in partial}]
        candidates, _ = assemble_candidates(self._in_order([*known, *partial]), self._settings)
        jobs: dict[str, Job] = {each.job.key: each.job for each in partial}
        racing = {
            candidate.label: jobs[key]
            for candidate in candidates
            for key in candidate.benchmark_keys
            if key in jobs and key not in self.dropped
        }
        found = hold_look(
            candidates,
            self._settings,
            self._production,
            repeats=repeats,
            max_repeats=max_repeats,
            racing=list(racing),
        )
        for label, reason in found.dropped.items():
            job = racing[label]
            self.dropped[job.key] = f"after {count(repeats, 'repeat')}: {reason}"
            self._out[identify_candidate(job)] = reason
            self._project.progress.say(f"race: {label} is measured no further: {reason}")
        if found.detail:
            self._project.progress.say(f"race: {found.detail}")
        return HeatLook(frozenset(racing[label].key for label in found.dropped), found.stop)

    @cached_property
    def _production(self) -> Production:
        """Version in production, if a constraint asks for it."""
        limits = self._settings.constraints
        needs = any(limit.kind == "quality_drop" and limit.against == "production" for limit in limits)
        if not needs:
            return Production()
        stored = find_stored(self._project) if self._project.is_offline else None
        return find_production(self._project, stored)

    def _known(self) -> list[Measurement]:
        """Return the measurements so far, in the order of the plan."""
        kept = [each for each in self._outcomes.kept if isinstance(each, Measurement)]
        return self._in_order([*self._reused, *kept])

    def _in_order(self, measurements: Sequence[Measurement]) -> list[Measurement]:
        order = {planned.job.key: number for number, planned in enumerate(self._plan.jobs)}
        return sorted(measurements, key=lambda each: order[each.job.key])
