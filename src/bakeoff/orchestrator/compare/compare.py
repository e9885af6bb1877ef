"""Compare: find what two texts name, then compare the two."""

from __future__ import annotations

from bakeoff.core.comparison import compare as comparing
from bakeoff.core.comparison.compare import Comparison
from bakeoff.core.comparison.gate import ComparisonSettings
from bakeoff.errors import CandidateNotFoundError, UserError
from bakeoff.orchestrator.compare.resolve import Finder, Named
from bakeoff.orchestrator.project import Project


def compare(project: Project, baseline: str, candidate: str, settings: ComparisonSettings) -> Comparison:
    """Compare a candidate with a baseline.

    Args:
        project: Project with the results, labels and tracking store.
        baseline: Name of the baseline, from which changes count.
        candidate: Name of the candidate to judge.
        settings: Margins, batch size and quantile, confidence.

    Raises:
        CandidateNotFoundError: A text names nothing, or several things.
        DataError: A file is broken.
        TrackingError: The store does not answer.
        UserError: Both texts name the same measurements, benchmarks of different scenarios, or decisions
            about different metrics; or the task has no such metric.
    """
    finder = Finder(project)
    first, second = finder.find(baseline), finder.find(candidate)
    settings = _choose_metric(first, second, settings, project)
    if first.is_set != second.is_set:
        first, second = _narrow(first, second, baseline), _narrow(second, first, candidate)
    first, second = _keep_scenario(first, second)
    measured = _identify(first)
    if measured and measured == _identify(second):
        raise UserError(
            f"{baseline!r} and {candidate!r} name the same measurements; name an older attempt with @ATTEMPT"
        )
    made = comparing.compare(first.sides, second.sides, settings)
    sides = () if first.is_job or second.is_job else (*first.sides, *second.sides)
    if sides and not any(side.find("quality") for side in sides):
        made = made.replace(remarks=("quality: not measured on either side", *made.remarks))
    if not (first.is_set and second.is_set and (first.winner or second.winner)):
        return made
    change = f"winner: {first.winner or 'none'} → {second.winner or 'none'}"
    return made.replace(remarks=(change, *made.remarks))


def _choose_metric(
    first: Named, second: Named, settings: ComparisonSettings, project: Project
) -> ComparisonSettings:
    """Take the metric of quality that was asked for, else that of a named decision, else the project's."""
    if settings.quality_metric is not None:
        return settings
    named = list(dict.fromkeys(each.metric for each in (first, second) if each.metric is not None))
    if len(named) > 1:
        raise UserError(
            f"the two decisions are about different metrics ({', '.join(named)}); "
            "choose one with --quality-metric"
        )
    chosen = named[0] if named else project.settings.decision.metric
    return settings.replace(quality_metric=chosen)


def _narrow(named: Named, other: Named, text: str) -> Named:
    """Keep the candidate of a set that has the label of the other side, a single candidate."""
    if not named.is_set:
        return named
    label = other.sides[0].label
    chosen = [side for side in named.sides if side.label == label]
    if len(chosen) != 1:
        there = [side.label for side in named.sides]
        raise CandidateNotFoundError(f"{label} in {text}", there, is_ambiguous=bool(chosen))
    return Named((chosen[0],))


def _keep_scenario(first: Named, second: Named) -> tuple[Named, Named]:
    """Keep only the scenario of a single benchmark, if a side names one."""
    jobs = [named.sides[0].measurements[0].job for named in (first, second) if named.is_job]
    kinds = {job.scenario.kind for job in jobs}
    if len(kinds) > 1:
        raise UserError(
            f"{jobs[0].label} and {jobs[1].label} have different scenarios; name two of one scenario"
        )
    kept = [
        named._replace(
            sides=tuple(
                side._replace(
                    measurements=tuple(each for each in side.measurements if each.job.scenario.kind in kinds)
                )
                for side in named.sides
            )
        )
        if kinds
        else named
        for named in (first, second)
    ]
    return kept[0], kept[1]


def _identify(named: Named) -> list[tuple[str, int, str]]:
    """List the measurements; two names with equal lists are the same."""
    return sorted(
        (each.job.key, each.attempt, each.measured_at) for side in named.sides for each in side.measurements
    )
