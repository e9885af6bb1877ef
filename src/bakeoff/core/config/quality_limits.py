"""Check of decision and scenarios against the metrics of the task: name, direction and bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bakeoff.core.config.decision_rules import (
    Constraint,
    Lexicographic,
    Objective,
    QualityDrop,
    QualityFloor,
    Weighted,
)
from bakeoff.measure.scenarios import Scenario
from bakeoff.measure.tasks import Task
from bakeoff.measure.tasks.metrics import Metric

FASTEST = "{kind: fastest}"  # the objective that needs no quality, as one writes it


class Misfit(NamedTuple):
    """Setting that does not fit the task.

    Attributes:
        place: Path of the setting.
        found: Value of the setting.
        fix: Values that fit, and what to do.
    """

    place: tuple[str | int, ...]
    found: object
    fix: str

    @property
    def line(self) -> str:
        """The whole message, without its file."""
        return f"{'.'.join(map(str, self.place))}: found {self.found!r}; {self.fix}"


def find_misfits(
    name: str | None, objective: Objective, constraints: Sequence[Constraint], task: Task
) -> tuple[Misfit, ...]:
    """Find every setting of a decision that does not fit the task.

    Args:
        name: Name of the metric; None is the default of the task.
        objective: Objective of the decision.
        constraints: Constraints of the decision.
        task: Task of the candidates.
    """
    if not task.metrics:
        return tuple(_check_without_metrics(name, objective, constraints, task))
    try:
        metric = task.find_metric(name)
    except KeyError:
        known = ", ".join(task.metrics)
        return (Misfit(("decision", "metric"), name, f"the metrics of {task.kind} are {known}"),)
    return (*_check_objective(objective, metric), *_check_floors(constraints, metric))


def find_unfit_scenarios(scenarios: Sequence[Scenario], task: Task) -> tuple[Misfit, ...]:
    """Find every scenario that compares with labels, if the task has none.

    Args:
        scenarios: Scenarios of the benchmark.
        task: Task of the models.
    """
    fix = (
        f"the task {task.kind} has no labels to compare with; leave it out of benchmark.scenarios, and set "
        f"decision.objective to {FASTEST}"
    )
    return tuple(
        Misfit(("benchmark", "scenarios", number), scenario.kind, fix)
        for number, scenario in enumerate(scenarios)
        if scenario.needs_labels and not task.metrics
    )


def _check_without_metrics(
    name: str | None, objective: Objective, constraints: Sequence[Constraint], task: Task
) -> Iterator[Misfit]:
    why = f"the task {task.kind} has no metric of quality"
    if name is not None:
        yield Misfit(("decision", "metric"), name, f"{why}; remove it")
    if objective.needs_quality:
        yield Misfit(("decision", "objective"), objective.kind, f"{why}; set {FASTEST}")
    for number, limit in enumerate(constraints):
        if isinstance(limit, QualityFloor | QualityDrop):
            yield Misfit(("decision", "constraints", number), limit.kind, f"{why}; remove this constraint")


def _check_objective(objective: Objective, metric: Metric) -> Iterator[Misfit]:
    if isinstance(objective, Lexicographic):
        span = metric.high - metric.low
        if objective.threshold_scale == "absolute" and objective.accuracy_threshold >= span:
            fix = f"set it below {span:g}, the range of {metric.label}"
            place = ("decision", "objective", "accuracy_threshold")
            yield Misfit(place, objective.accuracy_threshold, fix)
    elif isinstance(objective, Weighted) and objective.anchors is not None:
        anchors, at = objective.anchors.quality, ("decision", "objective", "anchors", "quality")
        for name in ("zero", "one"):
            yield from _check_bounds((*at, name), getattr(anchors, name), metric)
        if (anchors.one > anchors.zero) != (metric.direction == "maximize"):
            side, better = ("above", "more") if metric.direction == "maximize" else ("below", "less")
            fix = f"set `one` {side} `zero`: {better} {metric.label} is better"
            yield Misfit((*at, "one"), anchors.one, fix)


def _check_floors(constraints: Sequence[Constraint], metric: Metric) -> Iterator[Misfit]:
    wanted, other = ("at_least", "at_most") if metric.direction == "maximize" else ("at_most", "at_least")
    better = "more" if metric.direction == "maximize" else "less"
    for number, limit in enumerate(constraints):
        if not isinstance(limit, QualityFloor):
            continue
        place, value = ("decision", "constraints", number), getattr(limit, wanted)
        if value is None:
            fix = f"set {wanted} instead: {better} {metric.label} is better"
            yield Misfit((*place, other), getattr(limit, other), fix)
        else:
            yield from _check_bounds((*place, wanted), value, metric)


def _check_bounds(place: tuple[str | int, ...], value: float, metric: Metric) -> Iterator[Misfit]:
    if not metric.low <= value <= metric.high:
        ends = [f"at least {metric.low:g}"] if metric.low > float("-inf") else []
        ends += [f"at most {metric.high:g}"] if metric.high < float("inf") else []
        yield Misfit(place, value, f"{metric.label} is {' and '.join(ends)}")
