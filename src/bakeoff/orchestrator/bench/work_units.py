"""Work units: jobs that one place measures at one time, such as a heat."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.core.job import in_full
from bakeoff.core.plan.jobs import Plan, PlannedJob
from bakeoff.disk.digest import digest_json
from bakeoff.measure.scenarios import Interleaved

WorkUnit = tuple[PlannedJob, ...]

# Untimed jobs that are claimed at once: enough to keep some CPUs busy, and few enough to leave work to other
# machines.
MOST_UNTIMED = 8


def list_units(plan: Plan, n_places: int, *, may_split: bool) -> list[WorkUnit]:
    """List the work units of a plan, in its order; for several places the largest first, to end together.

    Args:
        plan: All jobs.
        n_places: Work units that can be measured at once.
        may_split: Whether heats are split if places would be idle.
    """
    singles = [planned for planned in plan.todo if not isinstance(planned.job.scenario, Interleaved)]
    heats: list[WorkUnit] = [tuple(group) for group in group_heats(plan)]
    if n_places == 1:
        # Quality first and servers last: what a race knows by then needs no server.
        untimed = [planned for planned in singles if not planned.job.scenario.is_timed]
        return [
            *(tuple(untimed[start : start + MOST_UNTIMED]) for start in range(0, len(untimed), MOST_UNTIMED)),
            *heats,
            *((planned,) for planned in singles if planned.job.scenario.is_timed),
        ]
    if may_split:
        heats = split_heats(heats, n_places - len(singles))
    return sorted([*((planned,) for planned in singles), *heats], key=len, reverse=True)


def group_heats(plan: Plan) -> list[list[PlannedJob]]:
    """Group the jobs that can be interleaved, the reference first; groups without work are skipped.

    The reference is the first candidate of the plan, measured or not. It runs again next to new candidates,
    and so joins them to all that were ever compared with it.
    """
    groups: dict[str, list[PlannedJob]] = {}
    for planned in plan.jobs:
        job = planned.job
        if isinstance(job.scenario, Interleaved):
            # A race may have a reference that was measured in full, so what ends the heat does not count.
            config = in_full(job).benchmark_config
            alike = {
                "scenario": config["scenario"],
                "inputs": job.inputs_digest,
                "protocol": config["protocol"],
            }
            groups.setdefault(digest_json(alike), []).append(planned)
    heats = []
    for group in groups.values():
        measured = [planned for planned in group if planned.action == "measure"]
        if not measured:
            continue
        reference = next(planned for planned in group if planned.action != "leave")
        heats.append([reference, *(planned for planned in measured if planned is not reference)])
    return heats


def split_heats(heats: Sequence[WorkUnit], n_wanted: int) -> list[WorkUnit]:
    """Split heats, the one with the largest parts first, until there are enough parts or none can be split.

    Every part has the reference, which joins the ratios of different parts. It is measured in the first part
    and only runs along in the others. Every part has at least one other candidate.
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


def _part(heat: WorkUnit, count: int) -> list[WorkUnit]:
    reference, *others = heat
    along = reference.replace(action="reuse")
    parts = [(along, *others[number::count]) for number in range(count)]
    return [(reference, *parts[0][1:]), *parts[1:]]
