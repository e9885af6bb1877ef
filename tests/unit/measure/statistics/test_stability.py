"""Warm-up, drift and unlike processes are found where they are, and seldom where they are not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.measure.statistics.stability import (
    MAD_TO_SD,
    MEDIAN_ERROR,
    BlockSummary,
    Drift,
    find_drift,
    is_steady,
    mser_truncation,
    spread_excess,
    summarize_block,
)

from ..simulation import Calls, Floats

BLOCKS = 50
MakeBlocks = Callable[[np.random.Generator], Floats]


def noise(rng: np.random.Generator, sigma: float, count: int = BLOCKS) -> Floats:
    return np.exp(sigma * rng.standard_normal(count))


def found_drifts(make: MakeBlocks, runs: int = 300) -> list[Drift | None]:
    rng = np.random.default_rng(1)
    return [find_drift(make(rng)) for _ in range(runs)]


# --- blocks and warm-up ---


def test_the_noise_of_a_block_is_how_much_its_median_varies() -> None:
    blocks = 3 + 0.3 * np.random.default_rng(2).standard_normal((2000, 101))
    summaries = [summarize_block(block) for block in blocks]
    assert np.mean([summary.noise for summary in summaries]) == pytest.approx(
        np.std([summary.median for summary in summaries]) / 3, rel=0.1
    )


def test_one_stalled_call_moves_neither_median_nor_noise_by_much() -> None:
    block = np.linspace(1.0, 1.1, 21)
    stalled = block.copy()
    stalled[0] = 500.0
    assert summarize_block(stalled).median == pytest.approx(summarize_block(block).median, rel=0.01)
    assert summarize_block(stalled).noise < 2 * summarize_block(block).noise


def calls_until_steady(trace: Floats, per_block: int = 10) -> int | None:
    blocks: list[BlockSummary] = []
    for start in range(0, trace.size, per_block):
        blocks.append(summarize_block(trace[start : start + per_block]))
        if is_steady(blocks):
            return start + per_block
    return None


def test_a_decaying_warm_up_is_waited_for_and_a_flat_one_is_soon_over() -> None:
    rng = np.random.default_rng(3)
    time = np.arange(600)
    remaining, wasted = [], []
    for _ in range(100):
        decay = noise(rng, 0.02, 600) * (1 + 0.6 * np.exp(-time / 30))
        end = calls_until_steady(decay)
        assert end is not None
        remaining.append(float(np.median(decay[end:])) - 1)
        wasted.append(calls_until_steady(noise(rng, 0.02, 600)))
    assert abs(np.mean(remaining)) < 0.01
    assert max(calls or math.inf for calls in wasted) <= 100


@pytest.mark.parametrize(("step_at", "height"), [(60, 1.33), (150, 1.11)])
def test_a_step_of_the_level_is_seen_while_it_lies_in_the_middle_of_the_window_and_never_before(
    step_at: int, height: float
) -> None:
    """What comes later no rule can see: the least time of the warm-up and the cut afterwards are for it."""
    rng = np.random.default_rng(3)
    for _ in range(100):
        trace = noise(rng, 0.02, 600) * np.where(np.arange(600) < step_at, height, 1.0)
        assert (calls_until_steady(trace) or math.inf) <= step_at
        blocks = [summarize_block(trace[start : start + 10]) for start in range(0, 600, 10)]
        step = step_at // 10  # the first block of the new level
        judged = {n_new: is_steady(blocks[: step + n_new]) for n_new in range(1, 6)}
        assert (judged[2], judged[3], judged[5]) == (False, False, True)


def test_a_machine_that_only_gets_slower_is_never_steady() -> None:
    assert calls_until_steady(1.01 ** np.arange(600.0)) is None


def test_a_drop_of_the_level_in_the_first_half_is_cut_off_exactly() -> None:
    rng = np.random.default_rng(4)
    for drop_at in (5, 20, 60):
        blocks = noise(rng, 0.01, 150) * np.where(np.arange(150) < drop_at, 1.25, 1.0)
        assert mser_truncation(blocks) == drop_at


def test_the_cut_never_takes_more_than_half() -> None:
    assert mser_truncation(np.array([9.0] * 7 + [1.0] * 3)) <= 5


@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_of_equal_blocks_none_is_cut_off(count: int) -> None:
    assert mser_truncation(np.ones(count)) == 0


def test_of_a_long_series_without_warm_up_more_than_a_fifth_is_seldom_cut_off() -> None:
    rng = np.random.default_rng(5)
    cuts = [mser_truncation(noise(rng, 0.02)) for _ in range(1000)]
    assert np.mean([cut > 0.2 * BLOCKS for cut in cuts]) <= 0.05


@given(st.integers(0, 2**32), st.floats(1e-6, 1e9))
def test_the_cut_and_the_drift_know_no_unit(seed: int, factor: float) -> None:
    blocks = noise(np.random.default_rng(seed), 0.02) * np.linspace(1, 1.1, BLOCKS)
    assert mser_truncation(factor * blocks) == mser_truncation(blocks)
    plain, scaled = find_drift(blocks), find_drift(factor * blocks)
    assert plain is not None
    assert scaled is not None
    assert scaled.kind == plain.kind
    assert scaled.change == pytest.approx(plain.change, rel=1e-9)


# --- drift ---


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("count", [10, 50, 100])
def test_a_machine_that_holds_still_is_seldom_said_to_drift(sigma: float, count: int) -> None:
    found = found_drifts(lambda rng: noise(rng, sigma, count))
    assert sum(drift is not None for drift in found) <= 0.05 * len(found)


def test_a_machine_that_holds_still_with_some_blocks_held_up_is_seldom_said_to_drift() -> None:
    found = found_drifts(lambda rng: noise(rng, 0.02) * np.where(rng.random(BLOCKS) < 0.1, 3.0, 1.0))
    assert sum(drift is not None for drift in found) <= 0.05 * len(found)


def test_a_ramp_of_8_percent_is_a_trend_of_about_that_much() -> None:
    found = found_drifts(lambda rng: noise(rng, 0.02) * np.linspace(1, 1.08, BLOCKS))
    assert sum(drift is not None for drift in found) >= 0.9 * len(found)
    trends = [drift for drift in found if drift is not None and drift.kind == "trend"]
    assert len(trends) > 0.7 * len(found)
    assert np.median([drift.change for drift in trends]) == pytest.approx(0.08, abs=0.01)
    assert max(drift.p for drift in trends) < 0.01


@pytest.mark.parametrize("step", [0.15, -0.13])
def test_a_step_is_a_shift_of_about_that_much_wherever_it_is(step: float) -> None:
    def make(rng: np.random.Generator) -> Floats:
        return noise(rng, 0.02) * np.where(np.arange(BLOCKS) >= rng.integers(8, BLOCKS - 8), 1 + step, 1)

    found = found_drifts(make)
    shifts = [drift for drift in found if drift is not None and drift.kind == "shift"]
    assert len(shifts) >= 0.9 * len(found)
    # Relative to the median of all, which lies on the longer side of the step.
    assert np.median([drift.change for drift in shifts]) == pytest.approx(step, rel=0.15)


def test_a_step_too_short_to_be_a_trend_is_still_found() -> None:
    # Back to the first level: Kendall's tau of this is 0.
    def make(rng: np.random.Generator) -> Floats:
        return noise(rng, 0.02) * np.where(np.abs(np.arange(BLOCKS) - 47) < 6, 1.15, 1)

    assert sum(drift is not None for drift in found_drifts(make)) >= 0.9 * 300


@pytest.mark.parametrize("change", [0.015, -0.015])
def test_a_sure_trend_of_less_than_two_percent_is_left_alone(change: float) -> None:
    found = found_drifts(lambda rng: noise(rng, 0.001) * np.linspace(1, 1 + change, BLOCKS), runs=50)
    assert found == [None] * 50


@pytest.mark.parametrize("blocks", [np.ones(50), np.linspace(1, 2, 9), np.array([])])
def test_nothing_is_said_of_equal_blocks_or_of_too_few(blocks: Floats) -> None:
    assert find_drift(blocks) is None


def test_a_step_without_any_noise_is_a_shift() -> None:
    found = find_drift(np.repeat([1.0, 1.2], 10))
    assert found is not None
    assert found.kind == "shift"


# --- unlike processes ---


def excesses(calls: Calls, *, per_process: int = 600) -> Floats:
    runs = calls.draw(np.random.default_rng(6), 300, 5, per_process)
    return np.array([spread_excess(list(run)) for run in runs])


@pytest.mark.parametrize(
    ("calls", "per_process"),
    [(Calls(), 50), (Calls(), 600), (Calls(correlation=0.8), 600), (Calls(stall_share=0.02), 600)],
)
def test_processes_that_are_alike_differ_as_their_noise_explains(calls: Calls, per_process: int) -> None:
    found = excesses(calls, per_process=per_process)
    assert 0.7 < np.median(found) < 1.4
    assert np.mean(found > 3) <= 0.01


def test_processes_that_are_unlike_differ_by_more() -> None:
    assert np.mean(excesses(Calls(sigma=0.06, process_effect=0.05)) > 3) >= 0.9


def test_noise_counted_by_calls_would_find_unlike_processes_where_calls_only_depend_on_each_other() -> None:
    def excess_by_calls(run: Floats) -> float:
        between = np.std(np.log(np.median(run, axis=1)), ddof=1)
        log_run = np.log(run)
        mad = np.median(np.abs(log_run - np.median(log_run, axis=1, keepdims=True)), axis=1)
        inside = MEDIAN_ERROR * MAD_TO_SD * mad / math.sqrt(run.shape[1])
        return float(between / np.sqrt(np.mean(inside**2)))

    sticky = Calls(correlation=0.95)
    runs = sticky.draw(np.random.default_rng(6), 300, 5, 600)
    assert np.mean([excess_by_calls(run) > 3 for run in runs]) > 0.5
    assert np.mean(excesses(sticky) > 3) <= 0.01


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], 0.0),
        ([np.array([1.0, 2.0, 3.0])], 0.0),
        ([np.array([1.0]), np.array([2.0, 3.0])], 0.0),
        ([np.ones(20), np.ones(20)], 0.0),
        ([np.ones(20), 2 * np.ones(20)], math.inf),
    ],
)
def test_where_there_is_nothing_to_compare_there_is_no_excess(samples: list[Floats], expected: float) -> None:
    assert spread_excess(samples) == expected
