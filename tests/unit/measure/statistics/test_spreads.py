"""Spreads between the repeats of a heat, from readings to the intervals that they moderate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.measure.statistics.intervals import MEDIAN, Interval, widen
from bakeoff.measure.statistics.moderation import Spread, joint_factor, moderate, prior_of
from bakeoff.measure.statistics.ratios import ratio_interval
from bakeoff.measure.statistics.readings import (
    COUNTED,
    DIRTY,
    LATENCY,
    PASS,
    Reading,
    find_log_ratios,
    find_log_times,
    ratio_to_reference,
)
from bakeoff.measure.statistics.spreads import find_spreads

from ..simulation import Floats

RECORDED = Path(__file__).parents[3] / "data" / "heat_of_three_repeats.json"
# Ratios at batch size 1 that another session on the same machine found with five repeats.
OF_ANOTHER_SESSION = {
    "minilm-l3 × torch": 0.548,
    "minilm-l6 × onnxruntime": 0.355,
    "minilm-l3 × onnxruntime": 0.180,
    "minilm-l2 × torch": 0.389,
    "minilm-l2 × onnxruntime": 0.112,
}
Heat = dict[str, dict[int, Reading]]


def read(times: Floats, *, batch_size: int = 1, quantity: str = LATENCY, **columns: Any) -> Reading:
    """A reading of times [repeats, rounds], one call a round."""
    repeats, rounds = times.shape
    return Reading(
        quantity=quantity,
        unit="ns",
        at={"batch_size": batch_size},
        values=tuple(times.ravel().tolist()),
        repeats=tuple(np.repeat(np.arange(repeats), rounds).tolist()),
        columns={
            "round": tuple(np.tile(np.arange(rounds), repeats).tolist()),
            "cpu_ns": tuple(np.rint(times.ravel()).astype(int).tolist()),
            **columns,
        },
    )


def make_heat(
    seed: int, names: str = "abcdef", *, repeats: int = 3, rounds: int = 1, sizes: tuple[int, ...] = (1,)
) -> Heat:
    random = np.random.default_rng(seed)
    drift = 0.2 * random.standard_normal((repeats, 1))
    spreads = np.exp(random.uniform(math.log(0.01), math.log(0.12), len(names)))
    return {
        name: {
            size: read(
                1e6 * size * np.exp(
                    drift + spread * random.standard_normal((repeats, 1))
                    + 0.01 * random.standard_normal((repeats, rounds))
                ),
                batch_size=size,
            )
            for size in sizes
        }
        for name, spread in zip(names, spreads, strict=True)
    }  # fmt: skip


def joined(heat: Heat, reference: str) -> Heat:
    """The heat whose readings know how all of it deviates."""
    spreads = find_spreads(heat, reference)
    return {
        name: {size: row.model_copy(update={"spreads": spreads}) for size, row in rows.items()}
        for name, rows in heat.items()
    }


def median_spread(heat: Heat, reference: str) -> Spread:
    return next(
        each for each in find_spreads(heat, reference) if (each.of, each.quantile) == ("ratio", MEDIAN)
    )


def ratio_of(heat: Heat, name: str, reference: str, size: int = 1) -> Interval:
    found = ratio_to_reference(heat[name][size], heat[reference][size])
    assert found is not None
    return found


def rearrange(reading: Reading, order: list[int]) -> Reading:
    """The same with other numbers for its repeats, and its values in their order."""
    rows = sorted(range(len(reading.values)), key=lambda row: order[reading.repeats[row]])
    return reading.model_copy(
        update={
            "values": tuple(reading.values[row] for row in rows),
            "repeats": tuple(order[reading.repeats[row]] for row in rows),
            "columns": {name: tuple(c[row] for row in rows) for name, c in reading.columns.items()},
        }
    )


# --- what is kept ---


def test_spreads_are_of_times_of_ratios_and_of_the_median_of_cpu_time() -> None:
    found = find_spreads(make_heat(1, sizes=(1, 8), rounds=4), "c")
    kinds = [(each.of, each.quantile) for each in found]
    assert kinds == [
        *(("time", p) for p in (0.5, 0.9, 0.95, 0.99)),
        ("ratio", 0.5),
        ("ratio of CPU time", 0.5),
    ], "too few calls for a ratio of tails"
    for each in found:
        assert each.batch_sizes == (1,) * 6 + (8,) * 6
        table = np.array(each.deviations)
        assert table.shape == (12, 3)
        assert np.allclose(table.sum(axis=1), 0, atol=1e-12)
        if each.of != "time":
            assert np.allclose(table[:6].sum(axis=0), 0, atol=1e-12)


def test_the_first_row_is_the_references_and_ratios_are_to_it() -> None:
    heat = make_heat(2, rounds=5)
    found = median_spread(heat, "c").ratios_at(1)
    for row, name in zip(found, "abdef", strict=True):
        ratios = find_log_ratios(heat[name][1], heat["c"][1])
        assert ratios is not None
        logs = np.array([*ratios.by_process.values()])
        assert np.allclose(row, logs - logs.mean(), atol=1e-12)


def test_only_repeats_that_all_candidates_have_are_kept() -> None:
    heat = make_heat(3, repeats=5)
    late = heat["b"][1]
    is_there = [number not in {0, 3} for number in late.repeats]
    heat["b"][1] = late.model_copy(
        update={
            name: tuple(value for value, here in zip(column, is_there, strict=True) if here)
            for name, column in (("values", late.values), ("repeats", late.repeats))
        }
        | {
            "columns": {
                name: tuple(value for value, here in zip(column, is_there, strict=True) if here)
                for name, column in late.columns.items()
            }
        }
    )
    found = median_spread(heat, "a")
    assert found.n_repeats == 3
    logs = np.log(np.array([heat[name][1].values for name in "ac"])[:, [1, 2, 4]])
    ratios = logs[1] - logs[0]
    assert np.allclose(found.ratios_at(1)[1], ratios - ratios.mean(), atol=1e-12)


def test_a_disturbed_process_is_in_the_spread_of_ratios_and_not_of_times() -> None:
    why = tuple(DIRTY if number == 1 else COUNTED for number in range(5) for _ in range(3))
    random = np.random.default_rng(4)
    heat = {
        name: {1: read(np.exp(0.05 * random.standard_normal((5, 3))) * 1e6, left_out=why)} for name in "abc"
    }
    repeats = {each.of: each.n_repeats for each in find_spreads(heat, "a") if each.quantile == MEDIAN}
    assert repeats == {"time": 4, "ratio": 5, "ratio of CPU time": 5}


@pytest.mark.parametrize(("repeats", "names", "n_found"), [(1, "abc", 0), (2, "abc", 6), (3, "a", 4)])
def test_one_repeat_has_no_spread(repeats: int, names: str, n_found: int) -> None:
    assert len(find_spreads(make_heat(5, names, repeats=repeats), "a")) == n_found
    assert find_spreads({}, "a") == ()


def test_a_reference_that_failed_leaves_the_spread_of_times() -> None:
    assert {each.of for each in find_spreads(make_heat(6, "bc"), "a")} == {"time"}


def test_a_reference_alone_teaches_nothing_of_ratios() -> None:
    assert {each.of for each in find_spreads(make_heat(7, "a"), "a")} == {"time"}


def test_passes_have_no_tails_to_spread() -> None:
    heat = {name: {32: read(np.full((3, 2), 1e9), batch_size=32, quantity=PASS)} for name in "ab"}
    assert {each.quantile for each in find_spreads(heat, "a")} == {MEDIAN}


def test_spreads_are_read_back_from_json_as_they_were() -> None:
    heat = joined(make_heat(8, sizes=(1, 8)), "a")
    reading = heat["b"][8]
    assert reading.spreads
    assert Reading.model_validate_json(reading.model_dump_json()) == reading


# --- what nothing may depend on ---


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.permutations("abcdef"), st.permutations(range(3)), st.permutations((1, 8)))
def test_no_order_of_candidates_sizes_or_repeats_changes_an_interval(
    seed: int, names: list[str], repeats: list[int], sizes: list[int]
) -> None:
    heat = make_heat(seed, sizes=(1, 8), rounds=2)
    turned = {name: {size: rearrange(heat[name][size], repeats) for size in sizes} for name in names}
    there, here = joined(heat, "a"), joined(turned, "a")
    for size in sizes:
        assert ratio_of(here, "c", "a", size) == pytest.approx(ratio_of(there, "c", "a", size), rel=1e-6)
        own, other = (each["c"][size].quantile(MEDIAN) for each in (there, here))
        assert own == other or own == pytest.approx(other, rel=1e-6)


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.floats(1e-3, 1e3))
def test_a_machine_of_another_speed_has_the_same_ratios(seed: int, factor: float) -> None:
    heat = make_heat(seed, rounds=2)
    scaled = {
        name: {1: rows[1].model_copy(update={"values": tuple(factor * each for each in rows[1].values)})}
        for name, rows in heat.items()
    }
    there, here = joined(heat, "a"), joined(scaled, "a")
    assert ratio_of(here, "b", "a") == pytest.approx(ratio_of(there, "b", "a"), rel=1e-6)
    for one, other in zip(there["b"][1].spreads, here["b"][1].spreads, strict=True):
        assert np.allclose(one.deviations, other.deviations, atol=1e-9)


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from("abcdef"))
def test_a_ratio_of_two_is_the_same_whoever_is_the_heats_reference(seed: int, reference: str) -> None:
    heat = make_heat(seed)
    by_heat = joined(heat, reference)
    found = find_log_ratios(by_heat["d"][1], by_heat["b"][1])
    assert found is not None
    interval = ratio_interval(found, prior=by_heat["d"][1].prior("ratio"))
    assert interval == pytest.approx(ratio_of(joined(heat, "b"), "d", "b"), rel=1e-6)


# --- what they are for ---


def test_intervals_are_made_with_what_the_whole_heat_shows() -> None:
    heat = make_heat(9)
    by_heat = joined(heat, "a")
    prior = prior_of(median_spread(heat, "a"))
    found = find_log_ratios(heat["b"][1], heat["a"][1])
    assert found is not None
    half = moderate([*found.by_process.values()], "ratio", prior).half_width(0.95)
    interval = ratio_of(by_heat, "b", "a")
    assert math.log(interval.high / interval.value) == pytest.approx(half, rel=1e-9)
    alone = ratio_of(heat, "b", "a")
    assert alone.value == interval.value
    assert alone != interval


def test_between_its_quantiles_the_next_one_above_stands_for_a_spread() -> None:
    reading = joined(make_heat(10, rounds=4), "a")["b"][1]
    by_quantile = {each.quantile: prior_of(each) for each in reading.spreads if each.of == "time"}
    for p, stands in ((0.3, 0.5), (0.5, 0.5), (0.75, 0.9), (0.91, 0.95), (0.999, 0.99)):
        found = reading.prior("time", p)
        assert found is not None
        assert all(np.array_equal(a, b) for a, b in zip(found, by_quantile[stands], strict=True))


def recorded() -> Heat:
    document: Mapping[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {
        name: {
            int(size): Reading(
                quantity=LATENCY,
                unit="ns",
                at={"batch_size": int(size)},
                values=tuple(1e3 * each for each in medians),
                repeats=tuple(document["repeat"]),
                columns={
                    "round": tuple(document["round"]),
                    "left_out": tuple(document["left_out"]),
                    "cpu_ns": tuple(1000 * each for each in medians),
                },
            )
            for size, medians in rows.items()
        }
        for name, rows in document["median_us"].items()
    }


@pytest.mark.parametrize("size", [1, 8])
def test_three_recorded_repeats_hold_the_ratios_of_another_session(size: int) -> None:
    reference = "minilm-l6 × torch"
    heat = joined(recorded(), reference)
    spread = median_spread(heat, reference)
    factor = joint_factor(spread.ratios_at(size), prior_of(spread), 0.95)
    for name, ratio in OF_ANOTHER_SESSION.items():
        found = widen(ratio_of(heat, name, reference, size), factor)
        assert found.high / found.value < 1.5
        assert found.value / found.low < 1.5
        # Of the larger batches the other session's figures were not kept.
        if size == 1:
            assert found.low < ratio < found.high


@pytest.mark.parametrize("size", [1, 8])
def test_a_limit_three_times_away_is_decided_by_three_recorded_repeats(size: int) -> None:
    heat = joined(recorded(), "minilm-l6 × torch")
    for rows in heat.values():
        found = rows[size].quantile(MEDIAN)
        assert found is not None
        # In all rounds of the third repeat the CPUs were apart: this is of two processes, beside all others.
        assert len(find_log_times(rows[size], MEDIAN)) == 2
        # A limit three times away is failed where it is below, and met where it is above.
        assert found.low > found.value / 3
        assert found.high < 3 * found.value
