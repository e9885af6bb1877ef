"""Hand out what is to be measured, collect what becomes of it, and claim what is handed out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from bakeoff.core.config.execution import RayExecution
from bakeoff.core.plan.jobs import Plan
from bakeoff.core.records import Champion
from bakeoff.errors import NodeLostError
from bakeoff.measure.scenarios import Interleaved
from bakeoff.orchestrator.bench.claims import Share
from bakeoff.orchestrator.bench.executors import Crew, open_crew
from bakeoff.orchestrator.bench.work_units import Unit, list_units
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project

# How often signs of life are given while units are waited for.
BEAT_S = 1.0


def measure_all(
    project: Project,
    champions: Sequence[Champion],
    plan: Plan,
    share: Share,
    used_up: Mapping[str, int],
) -> None:
    """Measure what a plan says and no other command does; every attempt, good or failed, is on disk then.

    Args:
        project: Whose stores are used.
        champions: Whose checkpoints are measured.
        plan: All jobs; one that is reused may be run beside new ones as their reference.
        share: Takes jobs, one or one heat at a time, gets what became of them, and sends it.
        used_up: Attempts that failed or do not count so far, by key digest.

    Raises:
        ClusterError: The cluster went away; everything measured is safe.
    """
    execution = project.settings.benchmark.execution
    may_split = isinstance(execution, RayExecution) and execution.split_heats
    with open_crew(project, champions, share) as crew:
        units = list_units(plan, crew.n_places, may_split=may_split)
        with project.progress.track("bench", sum(crew.count_steps(unit) for unit in units)) as advance:
            _Dispatch(project, crew, share, advance, used_up).run(units)


class _Dispatch:
    def __init__(
        self, project: Project, crew: Crew, share: Share, advance: Advance, used_up: Mapping[str, int]
    ) -> None:
        self._project = project
        self._crew = crew
        self._share = share
        self._advance = advance
        self._used_up = Counter(used_up)
        self._waiting: deque[Unit] = deque()
        self._running: dict[Future[object], Unit] = {}

    def run(self, units: Sequence[Unit]) -> None:
        """Keep every place busy until all units are measured, or left to others."""
        self._waiting.extend(units)
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._crew.n_places:
                if taken := self._take(self._waiting.popleft()):
                    self._running[self._crew.submit(taken, self._advance)] = taken
            done, _ = wait(self._running, timeout=BEAT_S, return_when=FIRST_COMPLETED)
            self._share.beat()
            for future in done:
                self._collect(self._running.pop(future), future)
            if not done:
                self._crew.look()

    def _take(self, unit: Unit) -> Unit | None:
        if isinstance(unit[0].job.scenario, Interleaved):
            return tuple(self._share.take_together(unit)) or None
        return tuple(mine for planned in unit if (mine := self._share.take(planned))) or None

    def _collect(self, unit: Unit, future: Future[object]) -> None:
        try:
            self._crew.collect(unit, future, self._advance)
        except NodeLostError as error:
            self._try_again(unit, error)
        self._share.settle(unit)

    def _try_again(self, unit: Unit, error: NodeLostError) -> None:
        """Count a lost attempt as one, and measure again at once what has attempts left."""
        again = []
        for planned in unit:
            if planned.action != "measure":
                again.append(planned)
                continue
            self._share.outcomes.fail(self._project, planned, error)
            self._used_up[planned.job.key_digest] += 1
            if self._used_up[planned.job.key_digest] < self._project.settings.benchmark.max_attempts:
                again.append(planned.model_copy(update={"attempt": planned.attempt + 1}))
        if any(planned.action == "measure" for planned in again):
            self._waiting.appendleft(tuple(again))
