"""The plot: marks, whiskers and lines stand where the ticks of the axes say that their values lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import Decision
from bakeoff.core.decision.standings import Standing
from bakeoff.core.estimate import Estimate
from bakeoff.report.figures.axes import Tick
from bakeoff.report.figures.intervals import WIDTH, draw_strips
from bakeoff.report.figures.markers import SHAPES, choose_looks, draw_legend
from bakeoff.report.figures.scatter import Plot, Point, draw_plot
from judged import quality_of

SIZES = [(1040, 560), (460, 460)]
NEAR = 0.25  # of a unit of the drawing; places are rounded to 0.1

DecisionMaker = Callable[..., Decision]
FIELDS = ["decision", "tie", "nobody", "alone", "crowd", "errors"]


@pytest.fixture(params=FIELDS)
def any_decision(request: pytest.FixtureRequest) -> Decision:
    found: Decision = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=SIZES, ids=["wide", "narrow"])
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


def draw(decision: Decision, size: tuple[int, int] = SIZES[0]) -> Plot:
    return draw_plot(decision, width=size[0], height=size[1])


def read_scale(ticks: Sequence[Tick], *, is_log: bool) -> Callable[[float], float]:
    """From a value to a place, learnt from the outermost ticks as a reader would."""
    curve = math.log if is_log else float
    (low, start), (high, end) = (
        (curve(float(tick.text.replace(",", ""))), tick.at) for tick in (ticks[0], ticks[-1])
    )
    return lambda value: start + (curve(value) - low) * (end - start) / (high - low)


def scales(plot: Plot) -> tuple[Callable[[float], float], Callable[[float], float]]:
    return read_scale(plot.x_ticks, is_log=True), read_scale(plot.y_ticks, is_log=False)


def point_of(plot: Plot, label: str) -> Point:
    (found,) = (point for point in plot.points if point.standing.label == label)
    return found


def change(decision: Decision, number: int, **fields: object) -> Decision:
    rows: list[Standing] = list(decision.standings)
    rows[number] = rows[number].model_copy(update=fields)
    return decision.model_copy(update={"standings": tuple(rows)})


# --- marks and whiskers -----------------------------------------------------------------------------------


def test_every_mark_stands_where_the_ticks_say(any_decision: Decision, size: tuple[int, int]) -> None:
    plot = draw(any_decision, size)
    across, along = scales(plot)
    assert len(plot.points) == len(any_decision.standings)
    for point in plot.points:
        row = point.standing
        assert point.x == pytest.approx(across(row.latency_ms.value), abs=NEAR)
        assert point.y == pytest.approx(along(quality_of(row).value), abs=NEAR)


def test_whiskers_end_at_the_ends_of_the_intervals(any_decision: Decision, size: tuple[int, int]) -> None:
    plot = draw(any_decision, size)
    across, along = scales(plot)
    for point in plot.points:
        latency, quality = point.standing.latency_ms, quality_of(point.standing)
        assert latency.high is not None
        assert quality.high is not None
        for whisker, scale, low, high in (
            (point.across, across, latency.low, latency.high),
            (point.along, along, quality.low, quality.high),
        ):
            if not whisker.is_open_at_start:
                assert whisker.start == pytest.approx(scale(low), abs=NEAR)
            if not whisker.is_open_at_end:
                assert whisker.end == pytest.approx(scale(high), abs=NEAR)


def test_everything_lies_inside_the_drawing(any_decision: Decision, size: tuple[int, int]) -> None:
    plot = draw(any_decision, size)
    area = plot.area
    xs = [tick.at for tick in plot.x_ticks] + [point.x for point in plot.points]
    ys = [tick.at for tick in plot.y_ticks] + [point.y for point in plot.points]
    for point in plot.points:
        xs += [point.across.start, point.across.end]
        ys += [point.along.start, point.along.end]
    for x, y in (*plot.front.corners, *plot.equal_score.corners):
        xs.append(x)
        ys.append(y)
    assert all(area.left <= x <= area.right for x in xs)
    assert all(area.top <= y <= area.bottom for y in ys)
    assert (plot.width, plot.height) == size


def test_a_whisker_without_known_end_goes_on_to_the_edge_and_is_open(decision: Decision) -> None:
    first = decision.standings[0]
    latency = Estimate(value=first.latency_ms.value, low=first.latency_ms.low, high=None)
    plot = draw(change(decision, 0, latency_ms=latency))
    whisker = point_of(plot, first.label).across
    assert whisker.is_open_at_end
    assert not whisker.is_open_at_start
    assert whisker.end == plot.area.right


def test_an_interval_far_beyond_all_marks_is_open_and_does_not_stretch_the_axis(decision: Decision) -> None:
    first = decision.standings[0]
    latency = Estimate(value=first.latency_ms.value, low=0.001, high=9000.0)
    plot = draw(change(decision, 0, latency_ms=latency))
    whisker = point_of(plot, first.label).across
    assert (whisker.is_open_at_start, whisker.is_open_at_end) == (True, True)
    assert (whisker.start, whisker.end) == (plot.area.left, plot.area.right)
    assert all(float(tick.text) < 100 for tick in plot.x_ticks)


def test_a_tooltip_says_name_place_and_numbers(decision: Decision) -> None:
    first = decision.standings[0]
    tooltip = point_of(draw(decision), first.label).tooltip
    assert tooltip.startswith(f"{first.label} (winner): F1 {quality_of(first).value:.3f} [")
    assert tooltip.endswith("] ms")


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 5000)), min_size=6, max_size=6),
)
def test_any_values_give_a_plot_whose_marks_are_in_the_order_of_the_values(
    decision: Decision, values: list[tuple[float, float]]
) -> None:
    rows = tuple(
        row.model_copy(
            update={
                "quality": Estimate(value=f1, low=f1 * 0.9, high=min(f1 * 1.1, 1.0)),
                "latency_ms": Estimate(value=ms, low=ms * 0.5, high=ms * 2),
            }
        )
        for row, (f1, ms) in zip(decision.standings, values, strict=True)
    )
    plot = draw(decision.model_copy(update={"standings": rows}))
    for a, b in combinations(plot.points, 2):
        if a.standing.latency_ms.value < b.standing.latency_ms.value:
            assert a.x <= b.x
        if quality_of(a.standing).value < quality_of(b.standing).value:
            assert a.y >= b.y


# --- lines ------------------------------------------------------------------------------------------------


def test_the_front_goes_through_the_best_of_the_front_and_below_no_mark_of_it(any_decision: Decision) -> None:
    plot = draw(any_decision)
    on_front = [point for point in plot.points if point.standing.is_on_front]
    corners = plot.front.corners
    assert corners
    best = [
        p
        for p in on_front
        if not any((q.x <= p.x and q.y < p.y) or (q.x < p.x and q.y <= p.y) for q in on_front if q is not p)
    ]
    assert {(point.x, point.y) for point in best} <= set(corners)
    # It is made of steps: right and up, never down.
    for (x, y), (next_x, next_y) in pairwise(corners):
        assert next_x >= x
        assert next_y <= y
        assert next_x == x or next_y == y
    reached = {y for _, y in corners} - {plot.area.bottom}
    assert reached <= {point.y for point in on_front}


def test_the_front_starts_at_the_floor_and_ends_at_the_edge(decision: Decision) -> None:
    plot = draw(decision)
    assert plot.front.corners[0][1] == plot.area.bottom
    assert plot.front.corners[-1][0] == plot.area.right
    assert plot.front.path.startswith("M")


@pytest.mark.parametrize("weights", [(0.9, 0.1), (0.5, 0.5), (0.02, 0.98), (0.999, 0.001)])
def test_every_place_on_the_curve_of_equal_score_scores_as_the_first(
    make_decision: DecisionMaker, field: list[Candidate], weights: tuple[float, float]
) -> None:
    decision = make_decision(
        field, objective={"kind": "weighted", "weights": {"quality": weights[0], "latency": weights[1]}}
    )
    plot = draw(decision)
    across, along = scales(plot)
    first = decision.standings[0]
    assert len(plot.equal_score.corners) > 20
    xs = [x for x, _ in plot.equal_score.corners]
    assert xs == sorted(xs)
    mark = point_of(plot, first.label)
    assert min(xs) - NEAR <= mark.x <= max(xs) + NEAR
    # The inverse of the axes, by bisection, so that nothing of the code under test is used.
    share = weights[0] / sum(weights)
    for x, y in plot.equal_score.corners:
        ms, f1 = invert(across, x, 1e-3, 1e4), invert(lambda v: -along(v), -y, 0.0, 1.0)
        score = share * math.log(f1 / quality_of(first).value)
        score += (1 - share) * math.log(first.latency_ms.value / ms)
        # Half a unit of the drawing is as near as a rounded place can be.
        slack = share * math.log(1 + 2e-3) + (1 - share) * math.log(1 + 2e-3)
        assert score == pytest.approx(0, abs=slack)


def invert(scale: Callable[[float], float], place: float, low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if scale(middle) < place else (low, middle)
    return low


@pytest.mark.parametrize("weights", [{"quality": 1, "latency": 0}, {"quality": 0, "latency": 1}])
def test_there_is_no_curve_where_one_side_alone_counts(
    make_decision: DecisionMaker, field: list[Candidate], weights: dict[str, float]
) -> None:
    assert (
        draw(make_decision(field, objective={"kind": "weighted", "weights": weights})).equal_score.corners
        == ()
    )


def test_there_is_no_curve_where_nobody_may_win(nobody: Decision) -> None:
    assert draw(nobody).equal_score.corners == ()


def test_constraints_in_sight_are_lines_at_their_limits(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    limits = [
        {"kind": "latency", "batch_size": 1, "quantile": 0.5, "at_most_ms": 6},
        {"kind": "quality", "at_least": 0.8},
    ]
    plot = draw(make_decision(field, constraints=limits))
    across, along = scales(plot)
    assert [(limit.text, limit.is_latency) for limit in plot.limits] == [
        ("p50 at batch size 1 ≤ 6 ms", True),
        ("F1 ≥ 0.8", False),
    ]
    assert plot.limits[0].at == pytest.approx(across(6.0), abs=NEAR)
    assert plot.limits[1].at == pytest.approx(along(0.8), abs=NEAR)


@pytest.mark.parametrize("limit_ms", [1.5, 1.7, 3.0, 5.0, 9.5])
def test_the_name_of_a_latency_limit_stands_inside_the_drawing(
    make_decision: DecisionMaker, field: list[Candidate], size: tuple[int, int], limit_ms: float
) -> None:
    limit = {"kind": "latency", "batch_size": 1, "quantile": 0.5, "at_most_ms": limit_ms}
    plot = draw(make_decision(field, constraints=[limit, {"kind": "quality", "at_least": 0.8}]), size)
    for drawn in plot.limits:
        assert drawn.box.is_within(plot.area)
    assert len(plot.limits) == 2


def test_a_constraint_on_another_quantity_or_out_of_sight_is_no_line(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    limits = [
        {"kind": "latency", "batch_size": 1, "quantile": 0.95, "at_most_ms": 6},
        {"kind": "latency", "batch_size": 8, "quantile": 0.5, "at_most_ms": 6},
        {"kind": "latency", "batch_size": 1, "quantile": 0.5, "at_most_ms": 5000},
        {"kind": "quality", "at_least": 0.01},
    ]
    assert draw(make_decision(field, constraints=limits)).limits == ()


# --- names ------------------------------------------------------------------------------------------------


def test_labels_lie_in_the_drawing_and_never_on_each_other(
    any_decision: Decision, size: tuple[int, int]
) -> None:
    plot = draw(any_decision, size)
    assert plot.labels
    for label in plot.labels:
        box = label.placed.box
        assert box.left >= 0
        assert box.top >= 0
        assert box.right <= plot.width
        assert box.bottom <= plot.height
    for one, other in combinations(plot.labels, 2):
        assert one.placed.box.overlap(other.placed.box) == 0


def test_the_winner_is_always_named(decision: Decision, crowd: Decision, size: tuple[int, int]) -> None:
    for made in (decision, crowd):
        first = made.standings[0]
        assert draw(made, size).labels[0].lines == (first.backbone, first.runtime)


def test_of_a_few_candidates_all_are_named_of_many_only_those_that_matter(
    decision: Decision, crowd: Decision
) -> None:
    assert len(draw(decision).labels) == len(decision.standings)
    named = [label.point.standing for label in draw(crowd).labels]
    assert all(row.is_on_front or row.place in {"winner", "tied"} for row in named)
    assert len(named) <= 14


# --- looks and strips -------------------------------------------------------------------------------------


def test_no_two_of_36_backbones_on_6_runtimes_look_alike(decision: Decision) -> None:
    row = decision.standings[0]
    names = [(f"backbone-{n:02}", f"runtime-{m}") for n in range(36) for m in range(6)]
    rows = tuple(row.model_copy(update={"backbone": b, "runtime": r}) for b, r in names)
    many = decision.model_copy(update={"standings": rows})
    looks = choose_looks(many)
    assert len(set(looks.values())) == len(names)
    legend = draw_legend(many)
    assert [name for name, _ in legend.backbones] == sorted({backbone for backbone, _ in names})
    assert [name for name, _ in legend.runtimes] == sorted({runtime for _, runtime in names})
    for (backbone, runtime), look in looks.items():
        assert (look.colour, look.shape) == dict(legend.backbones)[backbone][:2]
        assert look.filling == dict(legend.runtimes)[runtime].filling
    assert {look.shape for look in looks.values()} == set(SHAPES)


def test_strips_are_on_one_scale_in_the_order_of_the_scores(any_decision: Decision) -> None:
    rows = any_decision.standings
    strips = [strip for strip in draw_strips(rows) if strip is not None]
    scores = [row.score.value for row in rows if row.score is not None]
    assert len({strip.origin for strip in strips}) == 1
    for row, strip in zip(rows, strips, strict=True):
        assert 0 <= strip.low <= strip.value <= strip.high <= WIDTH
        if row.label == any_decision.reference:
            assert strip.value == strip.origin
    by_score = sorted(zip(scores, strips, strict=True), key=lambda pair: pair[0])
    assert [strip.value for _, strip in by_score] == sorted(strip.value for strip in strips)


def test_the_axis_of_an_error_is_turned_so_that_better_is_up(errors: Decision) -> None:
    plot = draw(errors)
    by_error = sorted(plot.points, key=lambda point: quality_of(point.standing).value)
    assert [point.y for point in by_error] == sorted(point.y for point in plot.points)
    (limit,) = plot.limits
    assert (limit.text, limit.is_latency) == ("RMSE ≤ 20", False)
    assert by_error[1].y < limit.at < by_error[2].y
