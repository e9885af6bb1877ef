"""Labels next to points, each at the least crowded place near its point.

Greedy: the most important labels choose first. Finding the best places for all at once is NP-hard, and a
missing label does little harm: the table names every candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_ANGLES = tuple(
    math.radians(degrees)
    for degrees in (
        0,
        180,
        35,
        -35,
        145,
        -145,
        90,
        -90,
        65,
        -65,
        115,
        -115,
        15,
        -15,
        165,
        -165,
        50,
        -50,
        130,
        -130,
    )
)
_DISTANCES = (13.0, 22.0, 34.0, 50.0, 70.0, 95.0)
_LEADER_FROM = 20.0
_CLEAR_WITHIN = 70.0  # further away, a label seems to name another point
# Cost of a square unit of overlap, against one unit of distance from the point.
_COST_OF_MARK, _COST_OF_LINE = 1.5, 0.25


class Box(NamedTuple):
    """A rectangle on the drawing, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Return the area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    def is_within(self, other: Box) -> bool:
        """Return whether the box lies inside the other."""
        return (
            self.left >= other.left
            and self.top >= other.top
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


class Wanted(NamedTuple):
    """A label to place: its size, and the point that it names."""

    x: float
    y: float
    width: float
    height: float


class Placed(NamedTuple):
    """A label's box, and the end of the leader line if the label is far from its point."""

    box: Box
    leader: tuple[float, float] | None


def place_labels(
    wanted: Sequence[Wanted],
    marks: Iterable[Box],
    lines: Iterable[Box],
    bounds: Box,
    *,
    whiskers: Sequence[Box] = (),
) -> list[Placed | None]:
    """Find a place for each label, in the order of importance.

    A label that crosses a whisker reads as if the interval ended there. So it crosses one only if every place
    near its point does.

    Args:
        wanted: Labels, the most important first.
        marks: Points; a label should not hide one.
        lines: Thin things; a label may cross one for want of a better place.
        bounds: Box that holds every label.
        whiskers: Intervals of the points.

    Returns:
        A place for each label, or None if it would cover another label.
    """
    obstacles = [(mark, _COST_OF_MARK) for mark in marks]
    obstacles += [(line, _COST_OF_LINE) for line in (*lines, *whiskers)]
    taken: list[Box] = []
    places: list[Placed | None] = []
    for label in wanted:
        free = [
            (distance, box)
            for distance in _DISTANCES
            for box in _boxes_around(label, distance)
            if box.is_within(bounds) and not any(box.overlap(other) for other in taken)
        ]
        if not free:
            places.append(None)
            continue
        near = _reach(label)
        close = [each for each in whiskers if near.overlap(each)]
        clear = [
            (distance, box)
            for distance, box in free
            if distance <= _CLEAR_WITHIN and not any(box.overlap(each) for each in close)
        ]
        costly = [each for each in obstacles if near.overlap(each[0])]
        _, box = min(clear or free, key=lambda choice: _cost(choice[1], choice[0], costly))
        taken.append(box)
        places.append(Placed(box, _find_leader(label, box)))
    return places


def _reach(label: Wanted) -> Box:
    """Return the box that holds every place of a label."""
    across, down = _DISTANCES[-1] + label.width, _DISTANCES[-1] + label.height
    return Box(label.x - across, label.y - down, label.x + across, label.y + down)


def _boxes_around(label: Wanted, distance: float) -> Iterable[Box]:
    for angle in _ANGLES:
        x = label.x + math.cos(angle) * (distance + label.width / 2)
        y = label.y - math.sin(angle) * (distance + label.height / 2)
        left, top = round(x - label.width / 2, 1), round(y - label.height / 2, 1)
        yield Box(left, top, left + label.width, top + label.height)


def _cost(box: Box, distance: float, obstacles: Iterable[tuple[Box, float]]) -> float:
    return distance + sum(weight * box.overlap(obstacle) for obstacle, weight in obstacles)


def _find_leader(label: Wanted, box: Box) -> tuple[float, float] | None:
    x = min(max(label.x, box.left), box.right)
    y = min(max(label.y, box.top), box.bottom)
    return (round(x, 1), round(y, 1)) if math.hypot(x - label.x, y - label.y) > _LEADER_FROM else None
