"""Schedule work units over the nodes of a cluster: claim, submit, collect, and try lost ones again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from bakeoff.core.config.execution import RayExecution
from bakeoff.core.plan.jobs import Plan
from bakeoff.errors import NodeLostError
from bakeoff.orchestrator.bench.claims import BenchClaims
from bakeoff.orchestrator.bench.executors import NodeExecutor, open_executor
from bakeoff.orchestrator.bench.work_units import WorkUnit, list_units
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project

# How often this command shows that it is alive while it waits for nodes.
BEAT_S = 1.0


def measure_on_nodes(project: Project, plan: Plan, claims: BenchClaims, used_up: Mapping[str, int]) -> None:
    """Measure the jobs of a plan on the nodes of the cluster.

    Every attempt is on this disk when this returns, good or failed. Jobs that another command holds are
    skipped.

    Args:
        project: Project of the jobs.
        plan: All jobs; a reused one may run next to new ones as their reference.
        claims: Takes jobs, and gets and sends their outcomes.
        used_up: Attempts so far that failed or are invalid, by key digest.

    Raises:
        ClusterError: The cluster went away; everything measured is safe.
    """
    execution = project.settings.benchmark.execution
    may_split = isinstance(execution, RayExecution) and execution.split_heats
    with open_executor(project, claims) as executor:
        units = list_units(plan, executor.n_places, may_split=may_split)
        with project.progress.track("bench", len(units)) as advance:
            _Schedule(project, executor, claims, advance, used_up).run(units)


class _Schedule:
    def __init__(
        self,
        project: Project,
        executor: NodeExecutor,
        claims: BenchClaims,
        advance: Advance,
        used_up: Mapping[str, int],
    ) -> None:
        self._project = project
        self._executor = executor
        self._claims = claims
        self._advance = advance
        self._used_up = Counter(used_up)
        self._waiting: deque[WorkUnit] = deque()
        self._running: dict[Future[object], WorkUnit] = {}

    def run(self, units: Sequence[WorkUnit]) -> None:
        """Keep every place busy until all units are measured, or skipped."""
        self._waiting.extend(units)
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._executor.n_places:
                if taken := self._claims.take_unit(self._waiting.popleft()):
                    self._running[self._executor.submit(taken)] = taken
            done, _ = wait(self._running, timeout=BEAT_S, return_when=FIRST_COMPLETED)
            self._claims.beat()
            for future in done:
                self._collect(self._running.pop(future), future)
            if not done:
                self._executor.check_nodes()

    def _collect(self, unit: WorkUnit, future: Future[object]) -> None:
        try:
            self._executor.collect(unit, future, self._advance)
        except NodeLostError as error:
            self._try_again(unit, error)
        self._claims.settle(unit)

    def _try_again(self, unit: WorkUnit, error: NodeLostError) -> None:
        """Count each lost attempt, and measure again at once where attempts are left."""
        again = []
        for planned in unit:
            if planned.action != "measure":
                again.append(planned)
                continue
            self._claims.outcomes.fail(self._project, planned, error)
            self._used_up[planned.job.key_digest] += 1
            if self._used_up[planned.job.key_digest] < self._project.settings.benchmark.max_attempts:
                again.append(planned.replace(attempt=planned.attempt + 1))
        if any(planned.action == "measure" for planned in again):
            self._waiting.appendleft(tuple(again))
