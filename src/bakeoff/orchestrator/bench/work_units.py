"""Units: what is measured in one place at one time. A job alone, or some untimed ones, or a heat or part."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.core.plan.jobs import Plan, PlannedJob
from bakeoff.measure.scenarios import Interleaved
from bakeoff.orchestrator.bench.heat import group_heats

Unit = tuple[PlannedJob, ...]

# So many jobs in which nothing is timed are claimed at once: enough to keep some CPUs busy, and few enough to
# leave work to other machines.
MOST_UNTIMED = 8


def list_units(plan: Plan, n_places: int, *, may_split: bool) -> list[Unit]:
    """What a plan has to measure, in its order; for several places the largest first: all shall end together.

    Args:
        plan: Of which jobs.
        n_places: How many units can be measured at once.
        may_split: Whether heats are split where places would be idle.
    """
    singles = [planned for planned in plan.todo if not isinstance(planned.job.scenario, Interleaved)]
    alone: list[Unit] = [(planned,) for planned in singles]
    if n_places == 1:
        untimed = [planned for planned in singles if not planned.job.scenario.is_timed]
        alone = [
            *(tuple(untimed[start : start + MOST_UNTIMED]) for start in range(0, len(untimed), MOST_UNTIMED)),
            *((planned,) for planned in singles if planned.job.scenario.is_timed),
        ]
    heats: list[Unit] = [tuple(group) for group in group_heats(plan)]
    if may_split:
        heats = split_heats(heats, n_places - len(alone))
    units = [*alone, *heats]
    return units if n_places == 1 else sorted(units, key=len, reverse=True)


def split_heats(heats: Sequence[Unit], n_wanted: int) -> list[Unit]:
    """Split heats, the one with the largest parts first, until there are enough parts or none can be split.

    Every part has the reference, which is measured in the first one and only run beside in the others: it is
    what ratios of unlike parts are joined by. A part without another candidate would tell nothing.
    """
    n_parts = [1] * len(heats)

    def largest_part(number: int) -> int:
        return -(-(len(heats[number]) - 1) // n_parts[number])

    while sum(n_parts) < n_wanted:
        chosen = max(range(len(heats)), key=largest_part, default=None)
        if chosen is None or largest_part(chosen) < 2:  # noqa: PLR2004 - two candidates can be parted
            break
        n_parts[chosen] += 1
    return [part for heat, count in zip(heats, n_parts, strict=True) for part in _part(heat, count)]


def _part(heat: Unit, count: int) -> list[Unit]:
    reference, *others = heat
    beside = reference.model_copy(update={"action": "reuse"})
    parts = [(beside, *others[number::count]) for number in range(count)]
    return [(reference, *parts[0][1:]), *parts[1:]]
