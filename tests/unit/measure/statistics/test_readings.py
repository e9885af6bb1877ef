"""Ratios to the reference from whole heats, of which a candidate or the reference may lack processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import compress

import numpy as np
import pytest

from bakeoff.measure.heats.assemble import assemble_readings
from bakeoff.measure.heats.records import Heat, Started
from bakeoff.measure.heats.run import run_heat
from bakeoff.measure.statistics.intervals import MEDIAN, Interval
from bakeoff.measure.statistics.ratios import ratio_interval
from bakeoff.measure.statistics.readings import (
    APART,
    COUNTED,
    DIRTY,
    LATE,
    LATENCY,
    REFERENCE,
    Reading,
    find_log_ratios,
    ratio_to_reference,
)

from ..simulated_heats import Simulated, World, make_protocol

N_REPEATS = 8
QUANTILES = [0.5, 0.95]


@dataclass
class Mortal(Simulated):
    """A participant whose last process is whole, and whose next one dies."""

    last_repeat: int = N_REPEATS

    def start(self, repeat: int) -> Started:
        started = super().start(repeat)
        self.fails_at = 1 if repeat > self.last_repeat else None
        return started


def hold(*participants: Simulated) -> Heat:
    protocol = make_protocol(min_repeats=N_REPEATS, max_repeats=N_REPEATS, min_calls=50, max_calls=50)
    return run_heat(participants, protocol, now_s=participants[0].world.now_s)


def readings_of(heat: Heat, name: str) -> tuple[Reading, Reading]:
    found = {row.quantity: row for row in assemble_readings(heat, name)}
    return found[LATENCY], found[REFERENCE]


def ratio_of(own: Reading, beside: Reading, p: float, *, by_cpu: bool = False) -> Interval:
    ratio = ratio_to_reference(own, beside, p=p, by_cpu=by_cpu)
    assert ratio is not None
    return ratio


def only(reading: Reading, repeats: Collection[int]) -> Reading:
    """The reading of some of its processes."""
    places = [place for place, number in enumerate(reading.repeats) if number in repeats]
    return reading.model_copy(
        update={
            "values": tuple(reading.values[place] for place in places),
            "repeats": tuple(reading.repeats[place] for place in places),
            "columns": {
                name: tuple(column[place] for place in places) for name, column in reading.columns.items()
            },
        }
    )


@pytest.mark.parametrize("p", QUANTILES)
def test_of_a_reference_that_died_later_its_whole_processes_are_compared(p: float) -> None:
    world = World(seed=1)
    heat = hold(Mortal(world, "reference", last_repeat=4), Simulated(world, "other", call_ns=1.2e6))
    own, beside = readings_of(heat, "other")
    assert set(own.repeats) == set(range(N_REPEATS))
    assert set(beside.repeats) == set(range(5))
    ratio = ratio_of(own, beside, p)
    assert ratio.low < 1.2 < ratio.high
    assert ratio == ratio_of(only(own, range(5)), beside, p)


@pytest.mark.parametrize("p", QUANTILES)
def test_processes_are_paired_by_their_number_and_not_by_their_place(p: float) -> None:
    """Each repeat ran on a machine of another speed: only the ratio within one tells anything."""
    world = World(seed=2)
    reference = Simulated(world, "reference")
    world.slowness = lambda _: 1.5**reference.repeat
    own, beside = readings_of(hold(reference, Simulated(world, "other", call_ns=1.2e6)), "other")
    late, early = only(own, range(2, 8)), only(beside, range(6))
    ratio = ratio_of(late, early, p)
    assert ratio == ratio_of(only(own, range(2, 6)), only(beside, range(2, 6)), p)
    assert ratio.value == pytest.approx(1.2, rel=0.02)
    assert len(late.by_repeat()) == len(early.by_repeat())


@pytest.mark.parametrize("p", QUANTILES)
def test_two_that_share_no_process_have_no_ratio(p: float) -> None:
    world = World(seed=3)
    own, beside = readings_of(hold(Simulated(world, "reference"), Simulated(world, "other")), "other")
    assert ratio_to_reference(only(own, range(4, 8)), only(beside, range(4)), p=p) is None


@pytest.mark.parametrize("p", QUANTILES)
def test_every_quantile_can_be_compared_by_cpu_time(p: float) -> None:
    """Other work took half of the clock from the candidate; its CPU time knows nothing of that."""
    world = World(seed=4)
    own, beside = readings_of(
        hold(Simulated(world, "reference"), Simulated(world, "other", call_ns=1.2e6)), "other"
    )
    held_up = own.model_copy(update={"values": tuple(2 * value for value in own.values)})
    assert ratio_of(held_up, beside, p).value == pytest.approx(2.4, rel=0.02)
    by_cpu, plain = ratio_of(held_up, beside, p, by_cpu=True), ratio_of(own, beside, p)
    assert by_cpu.value == plain.value
    # Spreads of CPU time are kept of the median alone, which stands for the quantiles above it.
    if p == MEDIAN:
        assert by_cpu == plain
    else:
        known = own.prior("ratio of CPU time", p)
        found = find_log_ratios(own, beside, p)
        assert found is not None
        assert by_cpu == ratio_interval(found, prior=known, of="ratio of CPU time") != plain


@pytest.mark.parametrize("p", QUANTILES)
def test_a_clock_too_coarse_to_see_cpu_time_gives_no_ratio_of_it(p: float) -> None:
    world = World(seed=5)
    own, beside = readings_of(hold(Simulated(world, "reference"), Simulated(world, "other")), "other")
    blind = own.model_copy(update={"columns": {**own.columns, "cpu_ns": (0,) * len(own.values)}})
    assert ratio_to_reference(blind, beside, p=p, by_cpu=True) is None


# --- rounds that count in ratios alone ---


def of_rounds(
    ratio: float, why: Mapping[tuple[int, int], int], *, repeats: int = 4, rounds: int = 6, seed: int = 0
) -> tuple[Reading, Reading]:
    """Calls of a candidate and of its reference; rounds that do not count ran at half the speed."""
    random = np.random.default_rng(seed)
    places = [(repeat, number) for repeat in range(repeats) for number in range(rounds)]
    slowness = np.array([2.0 if place in why else 1.0 for place in places])
    effects = np.exp(0.02 * random.standard_normal((2, repeats)))

    def read(quantity: str, row: int, call_ns: float) -> Reading:
        drawn = call_ns * slowness[:, np.newaxis] * np.exp(0.01 * random.standard_normal((len(places), 20)))
        values = drawn * np.array([effects[row, repeat] for repeat, _ in places])[:, np.newaxis]
        return Reading(
            quantity=quantity,
            unit="ns",
            at={"batch_size": 1},
            values=tuple(values.ravel().tolist()),
            repeats=tuple(repeat for repeat, _ in places for _ in range(20)),
            columns={
                "round": tuple(number for _, number in places for _ in range(20)),
                "left_out": tuple(why.get(place, COUNTED) for place in places for _ in range(20)),
            },
        )

    return read(LATENCY, 0, ratio * 1e6), read(REFERENCE, 1, 1e6)


@pytest.mark.parametrize("why", [APART, DIRTY])
def test_a_process_without_a_counted_round_counts_in_ratios_alone(why: int) -> None:
    own, beside = of_rounds(1.2, {(2, number): why for number in range(6)})
    assert own.by_repeat_number().keys() == {0, 1, 3}
    assert own.by_repeat_number(is_paired=True).keys() == {0, 1, 2, 3}
    for p in QUANTILES:
        found = find_log_ratios(own, beside, p)
        assert found is not None
        assert found.by_process.keys() == {0, 1, 2, 3}
        # The round was slow for both alike, which is why it may stay.
        assert ratio_of(own, beside, p).value == pytest.approx(1.2, rel=0.05)
    absolute, of_others = own.quantile(0.5), only(own, {0, 1, 3}).quantile(0.5)
    assert absolute is not None
    assert of_others is not None
    assert absolute.value == of_others.value
    assert own.n_counted == 3 * 6 * 20


def test_rounds_apart_stay_in_ratios_and_dirty_ones_only_with_no_other() -> None:
    own, _ = of_rounds(1.2, {(0, 1): APART, (0, 2): DIRTY, (0, 3): LATE, (1, 0): DIRTY, (3, 0): LATE})
    blocks, paired = own.block_medians(), own.block_medians(is_paired=True)
    assert paired.keys() - blocks.keys() == {(0, 1)}
    assert {(0, 2), (0, 3), (1, 0), (3, 0)}.isdisjoint(paired)
    # Rounds before the steady state never count, be it the only ones of a process.
    late, _ = of_rounds(1.2, {(2, number): LATE if number < 3 else DIRTY for number in range(6)})
    rounds_of_lost = {number for repeat, number in late.block_medians(is_paired=True) if repeat == 2}
    assert rounds_of_lost == {3, 4, 5}


@pytest.mark.parametrize("why", [APART, DIRTY])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.95])
def test_a_figure_without_half_of_its_rounds_holds_that_of_all_rounds(why: int, p: float) -> None:
    half = {(repeat, number): why for repeat in range(4) for number in range(3)}
    own, _ = of_rounds(1.2, half)
    assert own.is_thinned
    found, of_all = own.quantile(p), own.quantile_of_all(p)
    assert found is not None
    assert of_all is not None
    assert found.low < found.value < of_all < found.high
    # Without that, it would not: the rounds left out were twice as slow.
    plain = own.model_copy(update={"columns": {**own.columns, "left_out": (COUNTED,) * len(own.values)}})
    counted = only_rounds(plain, range(3, 6)).quantile(p)
    assert counted is not None
    assert counted.value == found.value
    assert counted.high < of_all


def test_a_figure_without_a_third_of_its_rounds_is_not_stretched() -> None:
    own, _ = of_rounds(1.2, {(repeat, number): DIRTY for repeat in range(4) for number in range(2)})
    assert not own.is_thinned
    found, of_all = own.quantile(0.95), own.quantile_of_all(0.95)
    assert found is not None
    assert of_all is not None
    assert found.high < of_all


def test_a_figure_that_lost_one_process_holds_that_of_all_rounds() -> None:
    own, _ = of_rounds(1.2, {(2, number): DIRTY for number in range(6)})
    found, of_all = own.quantile(0.9), own.quantile_of_all(0.9)
    assert own.is_thinned
    assert found is not None
    assert of_all is not None
    assert found.value < of_all < found.high


def only_rounds(reading: Reading, rounds: Collection[int]) -> Reading:
    """The reading of some of its rounds."""
    is_there = [number in rounds for number in reading.columns["round"]]
    return reading.model_copy(
        update={
            "values": tuple(compress(reading.values, is_there)),
            "repeats": tuple(compress(reading.repeats, is_there)),
            "columns": {name: tuple(compress(column, is_there)) for name, column in reading.columns.items()},
        }
    )
