"""The strip of trials: every dot at its score, the pick in sight, everything inside."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bakeoff.core.records import PickedTrial
from bakeoff.report.figures.trials import WIDTH, draw_trials

SCORES = st.floats(-1e300, 1e300, allow_nan=False)


def pick(scores: list[float], folds: list[float]) -> PickedTrial:
    ordered = tuple(sorted(scores))
    return PickedTrial(
        metric=ordered[-1], metric_name="f1", folds=tuple(folds), scores=ordered, n_scores=len(ordered)
    )


@given(st.lists(SCORES, min_size=1, max_size=40), st.lists(SCORES, max_size=5))
def test_dots_are_in_the_order_of_their_scores_and_inside(scores: list[float], folds: list[float]) -> None:
    strip = draw_trials(pick(scores, folds))
    assert strip is not None
    xs = [x for x, _ in strip.dots]
    assert xs == sorted(xs)
    assert len(strip.dots) == len(scores) - 1
    assert strip.picked[0] >= max(xs, default=0)
    for x, y in (*strip.dots, strip.picked):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= strip.base < strip.height
    assert len(strip.folds) == len(folds)
    assert all(0 <= x <= WIDTH for x in strip.folds)
    assert all(len(tick.text) <= 12 for tick in strip.ticks)


def test_equal_scores_stack_above_the_pick() -> None:
    strip = draw_trials(pick([0.5] * 300, []))
    assert strip is not None
    heights = sorted({y for _, y in strip.dots})
    assert len(heights) > 200
    assert max(heights) < strip.picked[1]
    assert strip.spread is None


def test_scores_too_far_apart_for_an_axis_have_no_drawing() -> None:
    assert draw_trials(pick([-1.7e308, 1.7e308], [])) is None
