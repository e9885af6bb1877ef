"""Check of the decision's settings against the metrics of the task: its name, direction and bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bakeoff.core.config.decision_rules import Constraint, Lexicographic, Objective, QualityFloor, Weighted
from bakeoff.measure.tasks import Task
from bakeoff.measure.tasks.metrics import Metric


class Misfit(NamedTuple):
    """Setting of the decision that does not fit the task.

    Attributes:
        place: Path of the setting below ``decision``.
        found: Value of the setting.
        fix: Values that fit, and what to do.
    """

    place: tuple[str | int, ...]
    found: object
    fix: str

    @property
    def line(self) -> str:
        """The whole message, without its file."""
        return f"decision.{'.'.join(map(str, self.place))}: found {self.found!r}; {self.fix}"


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
    try:
        metric = task.find_metric(name)
    except KeyError:
        known = ", ".join(task.metrics)
        return (Misfit(("metric",), name, f"the metrics of {task.kind} are {known}"),)
    return (*_check_objective(objective, metric), *_check_floors(constraints, metric))


def _check_objective(objective: Objective, metric: Metric) -> Iterator[Misfit]:
    if isinstance(objective, Lexicographic):
        span = metric.high - metric.low
        if objective.threshold_scale == "absolute" and objective.accuracy_threshold >= span:
            fix = f"set it below {span:g}, the range of {metric.label}"
            yield Misfit(("objective", "accuracy_threshold"), objective.accuracy_threshold, fix)
    elif isinstance(objective, Weighted) and objective.anchors is not None:
        anchors, place = objective.anchors.quality, ("objective", "anchors", "quality")
        for name in ("zero", "one"):
            yield from _check_bounds((*place, name), getattr(anchors, name), metric)
        if (anchors.one > anchors.zero) != (metric.direction == "maximize"):
            side, better = ("above", "more") if metric.direction == "maximize" else ("below", "less")
            fix = f"set `one` {side} `zero`: {better} {metric.label} is better"
            yield Misfit((*place, "one"), anchors.one, fix)


def _check_floors(constraints: Sequence[Constraint], metric: Metric) -> Iterator[Misfit]:
    wanted, other = ("at_least", "at_most") if metric.direction == "maximize" else ("at_most", "at_least")
    better = "more" if metric.direction == "maximize" else "less"
    for number, limit in enumerate(constraints):
        if not isinstance(limit, QualityFloor):
            continue
        place, value = ("constraints", number), getattr(limit, wanted)
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
