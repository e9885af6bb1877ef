"""Axes: larger values lie further along, ticks are round and tell the truth."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bakeoff.report.figures.axes import Axis, log_axis, quality_axis
from unit.outcomes import F1

START, END = 48.0, 1024.0
POSITIVE = st.floats(1e-3, 1e6)
SHARES = st.floats(0, 1)


@st.composite
def log_axes(draw: st.DrawFn) -> Axis:
    points = draw(st.lists(POSITIVE, min_size=1, max_size=8))
    ends = draw(st.lists(st.floats(0, 1e7), max_size=8))
    return log_axis(points, ends, START, END)


@st.composite
def share_axes(draw: st.DrawFn) -> Axis:
    # As in the plot: larger shares are higher up, so the axis runs backwards.
    return quality_axis(draw(st.lists(SHARES, min_size=1, max_size=8)), F1, END, START)


AXES = log_axes() | share_axes()


@given(AXES, st.lists(st.floats(-1, 1e8), min_size=2, max_size=8))
def test_a_larger_value_never_lies_before_a_smaller_one(axis: Axis, values: list[float]) -> None:
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places, reverse=axis.start > axis.end)
    assert all(START <= place <= END for place in places)


@given(AXES)
@example(quality_axis([0.0, 0.28], F1, END, START))
@example(quality_axis([0.16183, 0.27908], F1, END, START))
@example(log_axis([100.0], [], START, END))
def test_ticks_are_three_to_eight_in_order_and_inside(axis: Axis) -> None:
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 8
    values = [float(tick.text.replace(",", "")) for tick in ticks]
    assert values == sorted(set(values))
    assert all(axis.low <= value <= axis.high for value in values)
    assert all(START <= tick.at <= END for tick in ticks)


@given(AXES)
def test_a_tick_stands_where_a_mark_of_its_value_would(axis: Axis) -> None:
    for tick in axis.ticks():
        assert tick.at == pytest.approx(axis.place(float(tick.text.replace(",", ""))), abs=0.11)


@given(share_axes())
def test_ticks_of_shares_have_the_same_decimals_and_equal_steps(axis: Axis) -> None:
    ticks = axis.ticks()
    assert len({len(tick.text.partition(".")[2]) for tick in ticks}) == 1
    steps = [b.at - a.at for a, b in pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=0.25)


@given(st.lists(POSITIVE, min_size=1, max_size=8), st.lists(st.floats(0, 1e7), max_size=8))
def test_all_points_lie_on_a_log_axis_with_room_around_them(points: list[float], ends: list[float]) -> None:
    axis = log_axis(points, ends, START, END)
    assert axis.low < min(points)
    assert axis.high > max(points)
    for end in ends:
        if min(points) / 3 <= end <= max(points) * 3:
            assert axis.holds(end)


def test_one_hopeless_interval_does_not_squeeze_the_others_into_a_corner() -> None:
    axis = log_axis([3.0, 9.0], [2.8, 9.5, 712.0, 0.001], START, END)
    assert axis.high < 9 * 3 * 1.4
    assert axis.low > 3 / 3 / 1.4
    assert axis.place(712.0) == END


@given(st.lists(SHARES, min_size=1, max_size=8))
def test_a_share_axis_holds_all_shares_and_nothing_that_is_no_share(shares: list[float]) -> None:
    axis = quality_axis(shares, F1, END, START)
    assert all(axis.holds(share) for share in shares)
    assert axis.low >= 0
    assert axis.high <= 1
