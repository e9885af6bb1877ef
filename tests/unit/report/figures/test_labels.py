"""Labels: no box crosses a whisker where there is room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.core.decision.decide import Decision
from bakeoff.report.figures.labels import Box, Wanted, place_labels
from bakeoff.report.figures.scatter import Plot, draw_plot, whisker_boxes

BOUNDS = Box(0, 0, 900, 600)
CELL = 300


@given(
    st.lists(
        st.tuples(st.floats(2, 90), st.floats(2, 90), st.floats(2, 90), st.floats(2, 90)),
        min_size=6,
        max_size=6,
    )
)
def test_a_label_with_a_quarter_of_its_cell_free_crosses_no_whisker(
    ends: list[tuple[float, float, float, float]],
) -> None:
    # A point in the middle of each of six cells, whose whiskers end inside of it.
    wanted, whiskers, marks = [], [], []
    for number, (left, right, up, down) in enumerate(ends):
        x, y = CELL * (number % 3) + CELL / 2, CELL * (number // 3) + CELL / 2
        wanted.append(Wanted(x, y, width=110, height=30))
        marks.append(Box(x - 8, y - 8, x + 8, y + 8))
        whiskers += [Box(x - left, y - 1, x + right, y + 1), Box(x - 1, y - up, x + 1, y + down)]
    places = place_labels(wanted, marks, [], BOUNDS, whiskers=whiskers)
    assert None not in places
    for place in places:
        assert place is not None
        assert not any(place.box.overlap(each) for each in (*whiskers, *marks))


def crossings(plot: Plot) -> list[str]:
    whiskers = whisker_boxes(plot.points)
    return [
        label.lines[0] for label in plot.labels if any(label.placed.box.overlap(each) for each in whiskers)
    ]


@pytest.mark.parametrize("name", ["decision", "tie", "alone", "errors"])
@pytest.mark.parametrize("size", [(1040, 560), (460, 460)], ids=["wide", "narrow"])
def test_no_label_of_a_page_crosses_a_whisker(
    name: str, size: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    decision: Decision = request.getfixturevalue(name)
    plot = draw_plot(decision, width=size[0], height=size[1])
    assert plot.labels
    assert crossings(plot) == []
