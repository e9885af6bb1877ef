"""Which champions still have something to be measured."""

from __future__ import annotations

from bakeoff.core.champions import GivenChampions, parse_champions
from bakeoff.core.plan import filter_missing_benchmarks as champions_to_measure
from bakeoff.core.records import Champion
from bakeoff.orchestrator.measurements import plan_for
from bakeoff.orchestrator.project import Project


def filter_missing_benchmarks(champions: GivenChampions, project: Project) -> list[Champion]:
    """The champions for which anything is left to measure, by tracking store and disk."""
    parsed = parse_champions(champions, project.progress.say)
    return champions_to_measure(parsed, plan_for(project, parsed))
