"""Ratios to the reference from whole heats, of which a candidate or the reference may lack processes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pytest

from bakeoff.measure.assembly import assemble_readings
from bakeoff.measure.heat import Heat, Started
from bakeoff.measure.readings import LATENCY, REFERENCE, Reading, ratio_to_reference
from bakeoff.measure.rounds import run_heat
from bakeoff.measure.statistics import Interval

from .heats import Simulated, World, make_protocol

N_GENERATIONS = 8
QUANTILES = [0.5, 0.95]


@dataclass
class Mortal(Simulated):
    """A participant whose last process is whole, and whose next one dies."""

    last_generation: int = N_GENERATIONS

    def start(self, generation: int) -> Started:
        started = super().start(generation)
        self.fails_at = 1 if generation > self.last_generation else None
        return started


def hold(*participants: Simulated) -> Heat:
    protocol = make_protocol(
        min_generations=N_GENERATIONS, max_generations=N_GENERATIONS, min_calls=50, max_calls=50
    )
    return run_heat(participants, protocol, now_s=participants[0].world.now_s)


def readings_of(heat: Heat, name: str) -> tuple[Reading, Reading]:
    found = {row.quantity: row for row in assemble_readings(heat, name)}
    return found[LATENCY], found[REFERENCE]


def ratio_of(own: Reading, beside: Reading, p: float, *, by_cpu: bool = False) -> Interval:
    ratio = ratio_to_reference(own, beside, p=p, by_cpu=by_cpu)
    assert ratio is not None
    return ratio


def only(reading: Reading, generations: Collection[int]) -> Reading:
    """The reading of some of its processes."""
    places = [place for place, number in enumerate(reading.generations) if number in generations]
    return reading.model_copy(
        update={
            "values": tuple(reading.values[place] for place in places),
            "generations": tuple(reading.generations[place] for place in places),
            "columns": {
                name: tuple(column[place] for place in places) for name, column in reading.columns.items()
            },
        }
    )


@pytest.mark.parametrize("p", QUANTILES)
def test_of_a_reference_that_died_later_its_whole_processes_are_compared(p: float) -> None:
    world = World(seed=1)
    heat = hold(Mortal(world, "reference", last_generation=4), Simulated(world, "other", call_ns=1.2e6))
    own, beside = readings_of(heat, "other")
    assert set(own.generations) == set(range(N_GENERATIONS))
    assert set(beside.generations) == set(range(5))
    ratio = ratio_of(own, beside, p)
    assert ratio.low < 1.2 < ratio.high
    assert ratio == ratio_of(only(own, range(5)), beside, p)


@pytest.mark.parametrize("p", QUANTILES)
def test_processes_are_paired_by_their_number_and_not_by_their_place(p: float) -> None:
    """Each generation ran on a machine of another speed: only the ratio within one tells anything."""
    world = World(seed=2)
    reference = Simulated(world, "reference")
    world.slowness = lambda _: 1.5**reference.generation
    own, beside = readings_of(hold(reference, Simulated(world, "other", call_ns=1.2e6)), "other")
    late, early = only(own, range(2, 8)), only(beside, range(6))
    ratio = ratio_of(late, early, p)
    assert ratio == ratio_of(only(own, range(2, 6)), only(beside, range(2, 6)), p)
    assert ratio.value == pytest.approx(1.2, rel=0.02)
    assert len(late.by_generation()) == len(early.by_generation())


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
    assert ratio_of(held_up, beside, p, by_cpu=True) == ratio_of(own, beside, p)


@pytest.mark.parametrize("p", QUANTILES)
def test_a_clock_too_coarse_to_see_cpu_time_gives_no_ratio_of_it(p: float) -> None:
    world = World(seed=5)
    own, beside = readings_of(hold(Simulated(world, "reference"), Simulated(world, "other")), "other")
    blind = own.model_copy(update={"columns": {**own.columns, "cpu_ns": (0,) * len(own.values)}})
    assert ratio_to_reference(blind, beside, p=p, by_cpu=True) is None
