"""The plot of accuracy against latency: the place of everything. The template draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.report.figures.axes import Axis, Tick, Whisker, log_axis, quality_axis
from bakeoff.report.figures.labels import Box, Placed, Wanted, place_labels
from bakeoff.report.figures.markers import Look, choose_looks
from bakeoff.report.text.decision import describe_constraint
from bakeoff.report.text.units import format_latency, quality_with_interval, truncate

if TYPE_CHECKING:
    from bakeoff.core.config.decision_rules import LatencyLimit
    from bakeoff.core.config.settings import DecisionSettings
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.estimate import Estimate
    from bakeoff.core.quality import QualityMetric

    Judged = tuple[Standing, Estimate]  # a candidate with its quality

_ALL_ARE_LABELLED_UP_TO, _OF_MANY = 14, 7
_NAME_LENGTH = 24
_CHARACTER_WIDTH, _BOLD_WIDTH, _LINE_HEIGHT = 7.0, 7.8, 15.0
_MARK_RADIUS, _RING_RADIUS = 8.0, 13.0
_CURVE_STEPS = 60
_LEAST_SHARE = 1e-9  # a candidate that finds nothing scores as if it had this share of the scale


class Point(NamedTuple):
    """One candidate on the drawing.

    Attributes:
        number: Number in the standings.
    """

    number: int
    x: float
    y: float
    standing: Standing
    look: Look
    across: Whisker
    along: Whisker
    tooltip: str


class Label(NamedTuple):
    """A point's name on the drawing."""

    point: Point
    lines: tuple[str, str]
    placed: Placed


class LimitLine(NamedTuple):
    """A constraint as a line.

    Attributes:
        at: Place on the axis of latency or quality.
        box: Box of the name, next to the line.
        is_left: Whether the name is to the left of its line, which has more room there.
    """

    at: float
    text: str
    is_latency: bool
    box: Box
    is_left: bool


class ScoreLine(NamedTuple):
    """Straight pieces from corner to corner."""

    corners: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """The ``d`` of an SVG path; empty without corners."""
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in self.corners) if self.corners else ""

    def boxes(self) -> list[Box]:
        """Return what the line covers, for labels to keep off."""
        return [
            Box(min(a[0], b[0]) - 2, min(a[1], b[1]) - 2, max(a[0], b[0]) + 2, max(a[1], b[1]) + 2)
            for a, b in pairwise(self.corners)
        ]


class Plot(NamedTuple):
    """Everything on the drawing, in its units."""

    width: int
    height: int
    area: Box
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    labels: tuple[Label, ...]
    front: ScoreLine
    equal_score: ScoreLine
    limits: tuple[LimitLine, ...]


def draw_plot(decision: Decision, *, width: int, height: int) -> Plot:
    """Lay out the plot of a decision in which the quality of a candidate was measured.

    Args:
        decision: Decision whose standings with a quality become the points.
        width: Width of the drawing; labels take the same room in a small one as in a large one.
        height: Height of the drawing.

    Raises:
        ValueError: The quality of no candidate was measured.
    """
    area = Box(48, 30, width - 16, height - 50)
    metric = decision.metric
    judged = [(row, row.quality) for row in decision.standings if row.quality is not None]
    if metric is None or not judged:
        raise ValueError("a decision without quality has no plot")
    x_axis, y_axis = _axes(judged, metric, area)
    looks = choose_looks(decision)
    points = tuple(
        _point(
            number, (row, row.quality), metric, look=looks[row.backbone, row.runtime], axes=(x_axis, y_axis)
        )
        for number, row in enumerate(decision.standings)
        if row.quality is not None
    )
    front, equal_score = _front(points, area), _equal_score(decision, metric, x_axis, y_axis)
    limits = _limits(decision, x_axis, y_axis, area)
    return Plot(
        width=width,
        height=height,
        area=area,
        x_ticks=x_axis.ticks(),
        y_ticks=y_axis.ticks(),
        points=points,
        labels=_labels(
            points,
            [limit.box for limit in limits],
            [*front.boxes(), *equal_score.boxes(), *_limit_lines(limits, area)],
            area,
        ),
        front=front,
        equal_score=equal_score,
        limits=limits,
    )


def _axes(judged: Sequence[Judged], metric: QualityMetric, area: Box) -> tuple[Axis, Axis]:
    """Make the axes: better is further left, and higher up."""
    latencies = [row.latency_ms for row, _ in judged]
    ends = [end for e in latencies for end in (e.low, e.high) if end is not None]
    values = [value for _, e in judged for value in (e.low, e.value, e.high) if value is not None]
    return (
        log_axis([e.value for e in latencies], ends, area.left, area.right),
        quality_axis(values, metric, worse=area.bottom, better=area.top),
    )


def _point(
    number: int, judged: Judged, metric: QualityMetric, *, look: Look, axes: tuple[Axis, Axis]
) -> Point:
    row, quality = judged
    latency, (x_axis, y_axis) = row.latency_ms, axes
    return Point(
        number=number,
        x=x_axis.place(latency.value),
        y=y_axis.place(quality.value),
        standing=row,
        look=look,
        across=x_axis.stretch(latency.low, latency.high),
        along=y_axis.stretch(quality.low, quality.high),
        tooltip=f"{row.label} ({row.place}): {metric.label} {quality_with_interval(quality, metric)}, "
        f"{format_latency(latency)} ms",
    )


def _labels(
    points: Sequence[Point], names_of_limits: Sequence[Box], lines: Sequence[Box], area: Box
) -> tuple[Label, ...]:
    """Name all points, or of many the winner and some along the front."""
    chosen = points if len(points) <= _ALL_ARE_LABELLED_UP_TO else _choose_of_many(points)
    names = [_name(point.standing) for point in chosen]
    wanted = [
        Wanted(
            point.x,
            point.y,
            width=max(map(len, pair))
            * (_BOLD_WIDTH if point.standing.place == "winner" else _CHARACTER_WIDTH),
            height=_LINE_HEIGHT * (3 if point.standing.place == "winner" else 2),
        )
        for point, pair in zip(chosen, names, strict=True)
    ]
    bounds = Box(area.left + 2, area.top - 20, area.right + 12, area.bottom - 2)
    marks = [*map(_mark_box, points), *names_of_limits]
    places = place_labels(wanted, marks, lines, bounds, whiskers=whisker_boxes(points))
    return tuple(
        Label(point, pair, placed)
        for point, pair, placed in zip(chosen, names, places, strict=True)
        if placed is not None
    )


def _choose_of_many(points: Sequence[Point]) -> list[Point]:
    """Choose the winner and as many of the front as are legible, from end to end; the table names all."""
    winner = [point for point in points if point.standing.place == "winner"]
    front = sorted(
        (point for point in points if point.standing.is_on_front and point.standing.place != "winner"),
        key=lambda point: (point.x, point.y),
    )
    last, n = len(front) - 1, min(len(front), _OF_MANY)
    return winner + [front[round(number * last / max(n - 1, 1))] for number in range(n)]


def _name(row: Standing) -> tuple[str, str]:
    runtime = truncate(row.runtime, _NAME_LENGTH)
    return truncate(row.backbone, _NAME_LENGTH), f"{runtime}, {row.place}" if row.place in {
        "excluded",
        "undecided",
    } else runtime


def _mark_box(point: Point) -> Box:
    radius = _RING_RADIUS if point.standing.place in {"winner", "best so far", "tied"} else _MARK_RADIUS
    return Box(point.x - radius, point.y - radius, point.x + radius, point.y + radius)


def whisker_boxes(points: Sequence[Point]) -> list[Box]:
    """Return what the whiskers cover, with the bars at their ends."""
    across = [Box(p.across.start - 1, p.y - 1, p.across.end + 1, p.y + 1) for p in points]
    ends = [(p.x, sorted((p.along.start, p.along.end))) for p in points]
    bars = [Box(at - 1, p.y - 4, at + 1, p.y + 4) for p in points for at in (p.across.start, p.across.end)]
    bars += [Box(x - 4, at - 1, x + 4, at + 1) for x, both in ends for at in both]
    return [*across, *(Box(x - 1, top - 1, x + 1, bottom + 1) for x, (top, bottom) in ends), *bars]


def _front(points: Sequence[Point], area: Box) -> ScoreLine:
    """Draw the stepped line: at each latency, the best quality that a candidate of the front reaches.

    A candidate on the front may lie below the line: another one is measured better, but not with confidence.
    """
    corners: list[tuple[float, float]] = []
    height = area.bottom
    for point in sorted((p for p in points if p.standing.is_on_front), key=lambda p: (p.x, p.y)):
        if point.y < height:
            corners += [(point.x, height), (point.x, point.y)]
            height = point.y
    return ScoreLine((*corners, (area.right, height)) if corners else ())


def _equal_score(decision: Decision, metric: QualityMetric, x_axis: Axis, y_axis: Axis) -> ScoreLine:
    """Draw the curve of candidates with the same score as the first: above it is better.

    On it, log latency = log latency of the first + slope · log (quality / quality of the first). Where less
    quality is better, that last ratio is inverse.
    """
    first, objective = decision.standings[0], decision.settings.objective
    if objective.kind != "weighted" or objective.anchors is not None or first.quality is None:
        return ScoreLine(())
    share, own = objective.weights.quality_share, first.quality.value
    least = _LEAST_SHARE * y_axis.high
    if share in {0.0, 1.0} or own < least or own <= 0 or first.place == "excluded":
        return ScoreLine(())
    slope, here = share / (1 - share), math.log(first.latency_ms.value)
    # The curve enters and leaves the drawing through its sides or through floor and ceiling.
    ends = math.log(max(y_axis.low, least) / own), math.log(y_axis.high / own)
    floor, ceiling = sorted(map(metric.gain, ends))
    begin = max(floor, (math.log(x_axis.low) - here) / slope)
    end = min(ceiling, (math.log(x_axis.high) - here) / slope)
    gains = (begin + (end - begin) * step / _CURVE_STEPS for step in range(_CURVE_STEPS + 1))
    return ScoreLine(
        tuple(
            (x_axis.place(math.exp(here + slope * gain)), y_axis.place(own * math.exp(metric.gain(gain))))
            for gain in gains
        )
    )


def _limits(decision: Decision, x_axis: Axis, y_axis: Axis, area: Box) -> tuple[LimitLine, ...]:
    """Draw the constraints on quality and on the latency shown, as far as they are in sight."""
    settings, limits = decision.settings, []
    for constraint in settings.constraints:
        text = describe_constraint(constraint, decision.metric)
        width = len(text) * _CHARACTER_WIDTH
        if constraint.kind == "quality":
            limit = constraint.at_most if constraint.at_least is None else constraint.at_least
            if limit is not None and y_axis.holds(limit):
                at = y_axis.place(limit)
                box = Box(area.right - width, at - 18, area.right, at - 2)
                limits.append(LimitLine(at, text, is_latency=False, box=box, is_left=True))
        elif (
            constraint.kind == "latency"
            and _is_shown(constraint, settings)
            and x_axis.holds(constraint.at_most_ms)
        ):
            at = x_axis.place(constraint.at_most_ms)
            is_left = at - area.left > area.right - at
            left = at - 6 - width if is_left else at + 6
            box = Box(left, area.bottom - 20, left + width, area.bottom - 4)
            limits.append(LimitLine(at, text, is_latency=True, box=box, is_left=is_left))
    return tuple(limits)


def _is_shown(limit: LatencyLimit, settings: DecisionSettings) -> bool:
    return (limit.batch_size, limit.quantile) == (settings.batch_size, settings.quantile)


def _limit_lines(limits: Sequence[LimitLine], area: Box) -> list[Box]:
    return [
        Box(limit.at - 2, area.top, limit.at + 2, area.bottom)
        if limit.is_latency
        else Box(area.left, limit.at - 2, area.right, limit.at + 2)
        for limit in limits
    ]
