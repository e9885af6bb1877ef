"""Which champions still have something to be measured."""

from __future__ import annotations

from bakeoff.core.champions import GivenChampions, parse_champions
from bakeoff.core.plan import filter_missing_benchmarks as champions_to_measure
from bakeoff.core.records import Champion
from bakeoff.orchestrator.acquisition import identify_checkpoints
from bakeoff.orchestrator.measurements import plan_for
from bakeoff.orchestrator.project import Project


def filter_missing_benchmarks(champions: GivenChampions, project: Project) -> list[Champion]:
    """The champions for which anything is left to measure, by tracking store and disk.

    Args:
        champions: In any shape that ``parse_champions`` reads. One of unknown digest is acquired for it; one
            whose checkpoint cannot be had is reported and left out.
        project: Names runtimes, scenarios and stores.

    Raises:
        ChampionError: A champion lacks something, or contradicts itself.
        TrackingError: The store does not answer: that is never read as "nothing exists".
    """
    known = identify_checkpoints(parse_champions(champions, project.progress.say), project)
    return champions_to_measure(known, plan_for(project, known))
