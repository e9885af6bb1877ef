"""Whole heats on a virtual clock: who runs when, which rounds count, when it ends, what the ratios are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bakeoff.measure.heats.assemble import assemble_readings, find_left_out
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.records import Heat, HeatLook, Repeat, Stop
from bakeoff.measure.heats.run import run_heat
from bakeoff.measure.statistics.intervals import Interval
from bakeoff.measure.statistics.ratios import judge_ratio
from bakeoff.measure.statistics.readings import (
    APART,
    COUNTED,
    DIRTY,
    LATE,
    LATENCY,
    PASS,
    REFERENCE,
    Reading,
    ratio_to_reference,
)

from ..simulated_heats import N_INPUTS, Simulated, World, make_protocol


def hold(world: World, *participants: Simulated, protocol: TimingProtocol | None = None) -> Heat:
    return run_heat(participants, protocol or make_protocol(), now_s=world.now_s, probe=world.probe)


def reading_of(heat: Heat, name: str, quantity: str = LATENCY, calls: str = LATENCY) -> Reading:
    return next(row for row in assemble_readings(heat, name, calls) if row.quantity == quantity)


def ratio_of(heat: Heat, name: str) -> Interval:
    ratio = ratio_to_reference(reading_of(heat, name), reading_of(heat, name, REFERENCE))
    assert ratio is not None
    return ratio


# --- order ------------------------------------------------------------------------------------------------


def test_every_round_has_one_block_of_every_variant_of_every_candidate() -> None:
    world = World()
    heat = hold(world, Simulated(world, "a", variants=(1, 8)), Simulated(world, "b", variants=(1, 8)))
    for repeat in heat.repeats:
        for part in repeat.parts:
            places = [(block.round, block.variant) for block in part.blocks]
            assert sorted(places) == [(number, variant) for number in range(4) for variant in (1, 8)]


def test_the_order_is_drawn_anew_in_each_round_and_favours_no_position() -> None:
    world = World()
    protocol = make_protocol(rounds=40, min_repeats=5, max_repeats=5)
    heat = hold(world, *(Simulated(world, name) for name in "abcd"), protocol=protocol)
    positions = np.array(
        [[block.position for block in part.blocks] for repeat in heat.repeats for part in repeat.parts]
    )
    # Each of 4 positions is expected 50 times in 200; four standard deviations are 24.
    counts = [
        np.bincount(row, minlength=4) for row in positions.reshape(5, 4, 40).swapaxes(0, 1).reshape(4, -1)
    ]
    assert all(abs(int(count) - 50) <= 24 for row in counts for count in row)


def test_all_candidates_begin_a_round_at_the_same_input() -> None:
    world = World()
    hold(world, Simulated(world, "fast", call_ns=1e5), Simulated(world, "slow", call_ns=5e7))
    by_round = [world.log[start : start + 2] for start in range(0, len(world.log), 2)]
    assert all(len({first for _, _, first in turns}) == 1 for turns in by_round)
    assert [turns[0][2] for turns in by_round[:4]] == [0, N_INPUTS // 4, N_INPUTS // 2, 3 * N_INPUTS // 4]


def test_the_number_of_calls_is_fixed_by_the_first_process_and_kept() -> None:
    world = World(slowness=lambda now_s: 1.0 if now_s < 2 else 3.0)
    protocol = make_protocol(min_calls=5, max_calls=200)
    heat = hold(world, Simulated(world, "a", call_ns=1e6), protocol=protocol)
    lengths = {len(block.wall_ns) for each in heat.repeats for part in each.parts for block in part.blocks}
    assert lengths == {50}


def test_calls_too_short_for_the_clock_are_timed_together_and_have_no_tail() -> None:
    world = World()
    heat = hold(
        world, Simulated(world, "a", call_ns=2_000), protocol=make_protocol(min_calls=500, max_calls=500)
    )
    latency = reading_of(heat, "a")
    assert set(latency.columns["calls_per_sample"]) == {50}
    assert latency.is_grouped
    middle = latency.quantile(0.5)
    assert middle is not None
    assert middle.value == pytest.approx(2_000, rel=0.01)
    assert latency.quantile(0.95) is None


# --- ratios -----------------------------------------------------------------------------------------------


def random_walk(seed: int) -> World:
    """A machine whose speed wanders by ±30 % over minutes, the same for all who run on it."""
    generator = np.random.default_rng(seed)
    steps = np.cumsum(generator.normal(0, 0.02, 10_000)) % 1.2
    walk = np.exp(np.where(steps < 0.6, steps, 1.2 - steps) - 0.3)  # reflected at both bounds
    return World(seed=seed, slowness=lambda now_s: float(walk[int(now_s * 4) % len(walk)]))


@pytest.mark.parametrize(
    "true_ratio", [1.03, *(pytest.param(ratio, marks=pytest.mark.slow) for ratio in (1.05, 1.10))]
)
def test_interleaved_rounds_rank_rightly_on_a_machine_that_drifts(true_ratio: float) -> None:
    found = []
    for seed in range(40):
        world = random_walk(seed)
        heat = hold(
            world,
            Simulated(world, "reference", process_effect=0.01),
            Simulated(world, "other", call_ns=true_ratio * 1e6, process_effect=0.01),
            protocol=make_protocol(min_repeats=5, max_repeats=5, rounds=10),
        )
        found.append(ratio_of(heat, "other"))
    wrong = sum(ratio.value <= 1 for ratio in found)
    covered = sum(ratio.low <= true_ratio <= ratio.high for ratio in found)
    assert wrong == 0 if true_ratio >= 1.05 else wrong <= 2
    assert covered >= 36  # 0.90 of 40


def test_measuring_one_after_the_other_fails_where_interleaving_does_not() -> None:
    """The check of the test above: the naive schedule must be seen to fail on the same machine."""
    wrong = 0
    for seed in range(40):
        world = random_walk(seed)
        medians = []
        for name, call_ns in (("reference", 1e6), ("other", 1.05e6)):
            heat = hold(world, Simulated(world, name, call_ns=call_ns, start_s=30.0, process_effect=0.01))
            interval = reading_of(heat, name).quantile(0.5)
            assert interval is not None
            medians.append(interval.value)
        wrong += medians[1] <= medians[0]
    assert wrong > 8  # 0.2 of 40


def test_two_identical_candidates_are_seldom_told_apart_and_never_by_their_place() -> None:
    verdicts = []
    for seed in range(100):
        world = random_walk(seed)
        names = ["x", "y"] if seed % 2 else ["y", "x"]
        heat = hold(
            world,
            *(Simulated(world, name, process_effect=0.005) for name in names),
            protocol=make_protocol(min_repeats=5, max_repeats=5, rounds=6),
        )
        verdicts.append(judge_ratio(ratio_of(heat, names[1])))
    claims = [verdict for verdict in verdicts if verdict in ("faster", "slower")]
    assert len(claims) <= 11  # 7 % of 100, and three standard deviations of that binomial above 5 %
    assert abs(claims.count("faster") - claims.count("slower")) <= 7


def make_second_slower(seed: int) -> World:
    """A machine on which every second block takes 5 % longer."""
    world = World(seed=seed)
    world.slowness = lambda _: 1.0 if len(world.log) % 2 else 1.05
    return world


def test_what_the_second_place_of_a_round_costs_is_not_taken_for_a_difference() -> None:
    """Whoever comes second pays 5 %: always the same one, if the order were not drawn."""
    claims = 0
    for seed in range(100):
        world = make_second_slower(seed)
        heat = hold(
            world,
            *(Simulated(world, name, process_effect=0.005) for name in "xy"),
            protocol=make_protocol(min_repeats=5, max_repeats=5, rounds=6, seed=seed),
        )
        claims += judge_ratio(ratio_of(heat, "y")) in ("faster", "slower")
    assert claims <= 11  # 5 % of 100 and three standard deviations of that binomial


@settings(max_examples=25)
@given(factors=st.lists(st.floats(0.1, 10), min_size=4, max_size=4))
def test_a_factor_common_to_a_round_changes_no_ratio(factors: list[float]) -> None:
    world = World(seed=3)
    heat = hold(world, Simulated(world, "a"), Simulated(world, "b", call_ns=1.2e6))
    own, other = reading_of(heat, "b"), reading_of(heat, "b", REFERENCE)

    def scaled(reading: Reading) -> Reading:
        rounds = reading.columns["round"]
        values = tuple(value * factors[number] for value, number in zip(reading.values, rounds, strict=True))
        return reading.model_copy(update={"values": values})

    plain, moved = ratio_to_reference(own, other), ratio_to_reference(scaled(own), scaled(other))
    assert plain is not None
    assert moved is not None
    assert moved.value == pytest.approx(plain.value, rel=1e-12)
    assert moved.high == pytest.approx(plain.high, rel=1e-9)


# --- when it ends -----------------------------------------------------------------------------------------


def test_a_heat_on_easy_data_stops_at_the_least_number_of_repeats() -> None:
    world = World()
    targets = {"p50": 0.02, "p95": None, "p99": None, "ratio": 0.02}
    protocol = make_protocol(min_repeats=5, max_repeats=20, max_calls=50, targets=targets)
    heat = hold(world, Simulated(world, "a"), Simulated(world, "b"), protocol=protocol)
    assert (heat.stopped, len(heat.repeats), heat.unmet) == ("targets", 5, ())


def test_a_heat_that_cannot_reach_its_targets_ends_with_its_budget_and_says_what_is_missing() -> None:
    world = World()
    targets = {"p50": 0.02, "p95": None, "p99": 0.10, "ratio": None}
    protocol = make_protocol(
        min_repeats=5, max_repeats=100, max_calls=200, time_budget_s=60.0, targets=targets
    )
    heat = hold(world, Simulated(world, "a", stalls=0.02), protocol=protocol)
    assert heat.stopped == "budget"
    longest_s = max(
        (later.parts[0].blocks[-1].start_ns - each.parts[0].blocks[-1].start_ns) / 1e9
        for each, later in pairwise(heat.repeats)
    )
    assert world.now_s() <= 60 + longest_s
    (unmet,) = heat.unmet
    assert (unmet.metric, unmet.target) == ("p99", 0.10)
    assert unmet.half_width is None or unmet.half_width > 0.10


def test_a_quantile_without_enough_samples_is_missing_not_narrow() -> None:
    world = World()
    targets = {"p50": None, "p95": None, "p99": 0.5, "ratio": None}
    heat = hold(world, Simulated(world, "a"), protocol=make_protocol(targets=targets))
    assert [(unmet.metric, unmet.half_width) for unmet in heat.unmet] == [("p99", None)]


def test_a_heat_of_passes_ends_when_its_throughput_and_ratio_are_sure_enough() -> None:
    """A pass takes so long that a tail of passes would need more of them than any heat has."""
    world = World()
    protocol = make_protocol(min_repeats=5, max_repeats=20, min_calls=1, targets={})
    pair = [Simulated(world, name, call_ns=2e8, noise=0.005) for name in "ab"]
    heat = run_heat(pair, protocol, now_s=world.now_s, quantity=PASS)
    assert (heat.stopped, len(heat.repeats), heat.unmet) == ("targets", 5, ())
    throughput = reading_of(heat, "b", PASS, PASS).throughput()
    assert throughput is not None
    assert throughput.half_width_ratio <= 0.02


def test_a_heat_of_passes_says_how_unsure_its_throughput_is() -> None:
    world = World()
    protocol = make_protocol(min_repeats=5, max_repeats=5, min_calls=1, targets={})
    alone = [Simulated(world, "a", call_ns=2e8, process_effect=0.2)]
    heat = run_heat(alone, protocol, now_s=world.now_s, quantity=PASS)
    (unmet,) = heat.unmet
    assert (unmet.metric, unmet.target) == ("throughput", 0.02)
    throughput = reading_of(heat, "a", PASS, PASS).throughput()
    assert throughput is not None
    assert unmet.half_width == pytest.approx(throughput.half_width_ratio)


def test_no_tail_is_waited_for_of_calls_that_are_timed_several_at_a_time() -> None:
    world = World()
    protocol = make_protocol(min_repeats=5, max_repeats=20, targets={})
    heat = hold(
        world, Simulated(world, "a", call_ns=1e4), Simulated(world, "b", call_ns=1e4), protocol=protocol
    )
    assert (heat.stopped, heat.unmet) == ("targets", ())


def test_a_repeat_of_which_no_round_counts_is_not_done() -> None:
    world = World()
    busy_once = Simulated(world, "a", is_disturbed=lambda repeat, _: repeat == 1)
    heat = hold(world, busy_once, Simulated(world, "b"))
    assert len(heat.repeats) == 4
    assert len(reading_of(heat, "b").by_repeat()) == 3


def test_a_machine_so_busy_that_the_budget_is_long_gone_ends_the_heat_early() -> None:
    world = World()
    protocol = make_protocol(min_repeats=5, max_repeats=20, time_budget_s=30.0)
    heat = hold(world, Simulated(world, "a", start_s=40.0), protocol=protocol)
    assert (heat.stopped, len(heat.repeats)) == ("budget", 2)


def test_a_repeat_that_outlasts_the_patience_ends_after_four_rounds() -> None:
    # A call of a second: ten rounds of two candidates would take 220 s where 1.5 × 20 s are allowed.
    world = World()
    slow = [Simulated(world, name, call_ns=1e9) for name in ("a", "b")]
    protocol = make_protocol(min_repeats=3, rounds=10, min_calls=10, max_calls=10, time_budget_s=20.0)
    heat = run_heat(slow, protocol, now_s=world.now_s)
    assert [len(repeat.rounds) for repeat in heat.repeats] == [4, 4]
    assert heat.stopped == "budget"


@pytest.mark.slow
def test_stopping_early_keeps_the_interval_honest_and_the_median_unbiased() -> None:
    """Of 400 heats a coverage of 0.90 has a standard error of 0.015, and what is seen here is 0.94."""
    true_ns, n = 1e6, 400
    targets = {"p50": 0.02, "p95": None, "p99": None, "ratio": None}
    protocol = make_protocol(min_repeats=5, max_repeats=20, targets=targets)
    covered, values, lengths = 0, [], []
    for seed in range(n):
        world = World(seed=seed)
        heat = hold(world, Simulated(world, "a", noise=0.1, process_effect=0.02), protocol=protocol)
        interval = reading_of(heat, "a").quantile(0.5)
        assert interval is not None
        covered += interval.low <= true_ns <= interval.high
        values.append(interval.value)
        lengths.append(len(heat.repeats))
    assert covered / n >= 0.90
    # The median of this fixture is the true one; its mean over the heats is known to 0.05 %.
    assert abs(float(np.mean(values)) / true_ns - 1) < 0.003
    # Most stopped because they were narrow enough, and not all at once: there was something to be stopped by.
    assert lengths.count(20) < 0.05 * n
    assert len(set(lengths)) > 10


# --- disturbances -----------------------------------------------------------------------------------------


def test_a_disturbed_round_is_repeated_for_all_kept_and_left_out() -> None:
    world = World()
    disturbed = Simulated(world, "b", is_disturbed=lambda _, block: block == 1)
    heat = hold(world, Simulated(world, "a"), disturbed)
    for repeat in heat.repeats:
        assert repeat.rounds == {0: False, 1: True, 2: False, 3: False, 4: False}
    for name in ("a", "b"):
        latency = reading_of(heat, name)
        assert latency.columns["left_out"].count(DIRTY) == 3 * 10
        assert latency.n_counted == 3 * 40
        assert len(latency.values) == 3 * 50


def test_where_most_rounds_are_disturbed_none_is_repeated_and_all_count() -> None:
    world = World()
    heat = hold(world, Simulated(world, "a", is_disturbed=lambda _, block: block != 0), Simulated(world, "b"))
    assert all(len(repeat.rounds) == 4 for repeat in heat.repeats)
    latency = reading_of(heat, "b")
    assert latency.dirty_share == 0.75
    assert latency.n_counted == len(latency.values)


@pytest.mark.parametrize(("share", "is_dirty"), [(0.015, False), (0.05, True)])
def test_a_round_is_disturbed_where_its_blocks_together_waited_too_long(share: float, is_dirty: bool) -> None:
    world = World()
    heat = hold(world, Simulated(world, "a", delay_share=share), Simulated(world, "b", delay_share=share))
    assert {dirty for repeat in heat.repeats for dirty in repeat.rounds.values()} == {is_dirty}


def test_one_short_wait_among_many_blocks_disturbs_no_round() -> None:
    world = World()
    others = [Simulated(world, name) for name in "bcdefg"]
    heat = hold(world, Simulated(world, "a", delay_share=0.05), *others)
    assert not any(dirty for repeat in heat.repeats for dirty in repeat.rounds.values())


STOLEN = {"stolen_ns": 10e6}  # one tick
OTHERS = {"others_ns": 20e6}  # in blocks of 50 ms: 0.4 CPUs


def dirty_rounds(heat: Heat, repeat: int = 0) -> set[int]:
    return {number for number, is_dirty in heat.repeats[repeat].rounds.items() if is_dirty}


@pytest.mark.parametrize(("ticks", "words"), [(STOLEN, "hypervisor"), (OTHERS, "other processes")])
def test_a_heat_of_one_short_block_a_round_knows_that_others_had_the_machine(
    ticks: dict[str, float], words: str
) -> None:
    """Ten blocks of 50 ms are half a second: less than the ticks of one process were ever judged over."""
    world = World()
    protocol = make_protocol(rounds=10)
    heat = hold(world, Simulated(world, "a", call_ns=5e6, ticks=lambda *_: ticks), protocol=protocol)
    for number, repeat in enumerate(heat.repeats):
        assert dirty_rounds(heat, number) == set(range(10))
        for block in repeat.parts[0].blocks:
            assert [words in reason for reason in block.disturbances] == [True]
    assert reading_of(heat, "a").dirty_share == 1


def test_a_lone_tick_is_no_disturbance() -> None:
    world = World()
    lone = Simulated(world, "a", call_ns=5e6, ticks=lambda _, block: STOLEN if block == 4 else {})
    heat = hold(world, lone, protocol=make_protocol(rounds=10))
    assert not any(dirty_rounds(heat, number) for number in range(3))


def test_ticks_are_judged_over_a_second_of_rounds_and_speak_against_these_alone() -> None:
    world = World()
    protocol = make_protocol(rounds=10, min_repeats=1, max_repeats=1)
    # Four blocks of 50 ms a round: five rounds are a second.
    stolen = Simulated(world, "a", 5e6, 1e-6, ticks=lambda _, block: STOLEN if 5 <= block < 10 else {})
    others = [Simulated(world, name, 5.01e6, 1e-6) for name in "bcd"]
    heat = hold(world, stolen, *others, protocol=protocol)
    assert dirty_rounds(heat) == {5, 6, 7, 8, 9}
    assert len(heat.repeats[0].rounds) == 15  # five were repeated


def test_slow_samples_with_clean_counters_are_never_left_out() -> None:
    world = World()
    protocol = make_protocol(min_repeats=5, max_repeats=5, rounds=10, max_calls=20, min_calls=20)
    heat = hold(world, Simulated(world, "a", stalls=0.05), protocol=protocol)
    latency = reading_of(heat, "a")
    assert latency.n_counted == len(latency.values) == 1000
    tail = latency.quantile(0.99)
    assert tail is not None
    assert tail.value > 20e6


def test_what_counts_is_the_same_rounds_for_everybody() -> None:
    world = World()
    heat = hold(
        world,
        Simulated(world, "a", is_disturbed=lambda repeat, block: (repeat, block) == (0, 2)),
        Simulated(world, "b", is_disturbed=lambda repeat, block: (repeat, block) == (1, 0)),
    )
    left_out = find_left_out(heat.repeats)
    assert [place for place, why in left_out.items() if why == DIRTY] == [(0, 2), (1, 0)]
    for name in ("a", "b"):
        places = set(reading_of(heat, name).block_medians())
        assert places == {place for place, why in left_out.items() if why == COUNTED}


def test_blocks_before_a_late_steady_state_are_left_out_for_all() -> None:
    world = World()
    protocol = make_protocol(rounds=10)
    heat = hold(world, Simulated(world, "a", late_blocks=4), Simulated(world, "b"), protocol=protocol)
    latency = reading_of(heat, "b")
    late = {
        (repeat, number)
        for repeat, number, why in zip(
            latency.repeats, latency.columns["round"], latency.columns["left_out"], strict=True
        )
        if why == LATE
    }
    assert late == {(repeat, number) for repeat in range(3) for number in range(4)}


def test_a_stationary_heat_leaves_nothing_out() -> None:
    for seed in range(20):
        world = World(seed=seed)
        protocol = make_protocol(rounds=10, min_repeats=5, max_repeats=5)
        heat = hold(world, Simulated(world, "a"), Simulated(world, "b"), protocol=protocol)
        assert set(find_left_out(heat.repeats).values()) == {COUNTED}


# --- CPUs that the host moves -----------------------------------------------------------------------------


def make_moving(is_apart: Callable[[float], bool], seed: int = 0) -> World:
    """A machine on which, at times, core-to-core latencies take 2.8 times as long and calls 1.35 times."""
    return World(
        seed=seed,
        slowness=lambda now_s: 1.35 if is_apart(now_s) else 1.0,
        core_to_core_ns=lambda now_s: 11_200 if is_apart(now_s) else 4_000,
    )


def hold_two(world: World, **protocol: object) -> Heat:
    pair = (
        Simulated(world, "a", process_effect=0.01),
        Simulated(world, "b", call_ns=1.1e6, process_effect=0.01),
    )
    return hold(world, *pair, protocol=make_protocol(**protocol))


def test_rounds_with_the_cpus_apart_are_left_out_for_all_and_further_repeats_take_their_place() -> None:
    # A repeat takes a little more than two seconds, so that two of the first four are apart.
    world = make_moving(lambda now_s: 2.5 < now_s < 6.5)
    heat = hold_two(world, min_repeats=5, max_repeats=5)
    assert [set(each.core_to_core_by_round_ns.values()) for each in heat.repeats].count({11_200}) == 2
    assert len(heat.repeats) == 7
    for name, true_ns in (("a", 1.0e6), ("b", 1.1e6)):
        latency = reading_of(heat, name)
        assert latency.columns["left_out"].count(APART) == 2 * 4 * 10
        assert latency.dirty_share == 0.0
        middle, of_all = latency.quantile(0.5), latency.quantile_of_all(0.5)
        assert middle is not None
        assert middle.value == pytest.approx(true_ns, rel=0.03)
        assert of_all is not None
        assert of_all > middle.value


def test_a_machine_whose_cpus_are_always_apart_is_measured_as_it_is() -> None:
    heat = hold_two(make_moving(lambda _: True))
    assert len(heat.repeats) == 3
    assert set(find_left_out(heat.repeats).values()) == {COUNTED}


def test_where_the_cpus_are_seldom_near_all_rounds_count() -> None:
    heat = hold_two(make_moving(lambda now_s: now_s > 4.0), min_repeats=5, max_repeats=5)
    assert heat.stopped == "repeats"
    assert 5 < len(heat.repeats) <= 10
    assert set(find_left_out(heat.repeats).values()) == {COUNTED}


def test_waiting_for_the_cpus_to_come_near_ends_with_the_budget() -> None:
    world = make_moving(lambda now_s: now_s > 7.0)
    heat = hold_two(world, min_repeats=5, max_repeats=50, time_budget_s=12.0)
    assert heat.stopped == "budget"
    assert world.now_s() <= 12.0
    assert APART in find_left_out(heat.repeats).values()


def test_a_disturbed_round_counts_as_disturbed_whether_the_cpus_were_near_or_apart() -> None:
    world = make_moving(lambda now_s: 1.0 < now_s % 7 < 2.5)
    busy = Simulated(world, "a", is_disturbed=lambda _, block: block < 3)
    protocol = make_protocol(min_repeats=6, max_repeats=6)
    latency = reading_of(hold(world, busy, protocol=protocol), "a")
    assert latency.dirty_share == 0.75
    assert latency.counts_all


def test_a_busy_machine_is_not_measured_longer_for_what_its_hand_overs_read() -> None:
    generator = np.random.default_rng(0)
    world = World(core_to_core_ns=lambda _: int(generator.choice([4_000, 12_000], p=[0.3, 0.7])))
    busy = Simulated(world, "a", is_disturbed=lambda *_: True)
    heat = hold(world, busy, protocol=make_protocol(min_repeats=5, max_repeats=5))
    assert len(heat.repeats) == 5
    assert APART not in find_left_out(heat.repeats).values()


def test_of_two_repeats_none_is_left_out() -> None:
    """One that is left gives no ratio an interval."""
    world = make_moving(lambda now_s: now_s > 45.0)
    protocol = make_protocol(min_repeats=5, max_repeats=20, time_budget_s=30.0)
    heat = hold(world, Simulated(world, "a", start_s=40.0), protocol=protocol)
    assert (heat.stopped, len(heat.repeats)) == ("budget", 2)
    assert APART not in find_left_out(heat.repeats).values()


def test_a_repeat_that_is_near_for_a_round_or_two_does_not_count_as_done() -> None:
    world = World(core_to_core_ns=lambda now_s: 11_200 if now_s < 1.025 else 4_000)
    protocol = make_protocol(min_repeats=5, max_repeats=5)
    heat = hold(world, Simulated(world, "a"), protocol=protocol)
    assert set(heat.repeats[0].core_to_core_by_round_ns.values()) == {4_000, 11_200}
    assert len(heat.repeats) == 6


def test_a_heat_that_began_with_the_cpus_apart_goes_on_until_they_were_near_often_enough() -> None:
    world = make_moving(lambda now_s: now_s < 8.6)
    targets = {"p50": 1e-6, "p95": None, "p99": None, "ratio": None}
    heat = hold_two(world, min_repeats=3, max_repeats=5, targets=targets)
    far = [min(each.core_to_core_by_round_ns.values()) > 5_000 for each in heat.repeats]
    assert far == [True] * 4 + [False] * 5
    middle = reading_of(heat, "a").quantile(0.5)
    assert middle is not None
    assert middle.value == pytest.approx(1e6, rel=0.03)


def test_one_after_the_other_no_round_is_judged_by_what_was_read_before_another() -> None:
    world = make_moving(lambda now_s: now_s % 2 < 1)
    pair = (Simulated(world, name, resident_bytes=600) for name in "ab")
    heat = run_heat(
        list(pair), make_protocol(), now_s=world.now_s, memory_budget_bytes=1000, probe=world.probe
    )
    assert not any(each.is_resident for each in heat.repeats)
    assert set(find_left_out(heat.repeats).values()) == {COUNTED}


def test_an_interrupted_heat_goes_on_with_what_was_read_of_its_repeats() -> None:
    world = make_moving(lambda now_s: now_s < 4.2)
    whole = hold_two(world, min_repeats=5, max_repeats=5)
    again = make_moving(lambda now_s: now_s < 4.2)
    again.now_ns = 10e9
    rest = run_heat(
        [
            Simulated(again, "a", process_effect=0.01),
            Simulated(again, "b", call_ns=1.1e6, process_effect=0.01),
        ],
        make_protocol(min_repeats=5, max_repeats=5),
        now_s=again.now_s,
        earlier=whole.repeats[:3],
        probe=again.probe,
    )
    assert len(rest.repeats) == len(whole.repeats) == 7
    assert find_left_out(rest.repeats).keys() == find_left_out(whole.repeats).keys()
    assert [why == APART for why in find_left_out(rest.repeats).values()].count(True) == 2 * 4


@pytest.mark.parametrize("seed", range(10))
def test_the_median_is_the_same_whether_the_host_moves_the_cpus_or_not(seed: int) -> None:
    moves = np.random.default_rng(seed).random(1000) < 0.4
    moved, still = (
        hold_two(make_moving(is_apart, seed=seed), min_repeats=8, max_repeats=8)
        for is_apart in (lambda now_s: bool(moves[int(now_s / 5)]), lambda _: False)
    )
    medians = [reading_of(heat, "a").quantile(0.5) for heat in (moved, still)]
    assert medians[0] is not None
    assert medians[1] is not None
    assert medians[0].value == pytest.approx(medians[1].value, rel=0.03)


# --- faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails_at", [-1, 0, 2])
def test_a_candidate_that_dies_is_out_and_the_others_finish(fails_at: int) -> None:
    world = World()
    broken = Simulated(world, "broken", fails_at=fails_at)
    heat = hold(world, Simulated(world, "a"), broken, Simulated(world, "b"))
    assert list(heat.failures) == ["broken"]
    assert heat.failures["broken"].reason.startswith("killed by")
    for name in ("a", "b"):
        assert reading_of(heat, name).n_counted == 3 * 40
    assert not broken.is_alive


def test_without_its_reference_a_heat_still_measures_the_others() -> None:
    world = World()
    targets = {"p50": 0.5, "p95": None, "p99": None, "ratio": 0.01}
    heat = hold(
        world,
        Simulated(world, "reference", fails_at=0),
        Simulated(world, "b"),
        protocol=make_protocol(targets=targets, max_repeats=10),
    )
    assert (heat.stopped, heat.unmet) == ("targets", ())
    assert [row.quantity for row in assemble_readings(heat, "b")].count(REFERENCE) == 0


def test_nobody_is_left_alive_when_something_else_breaks() -> None:
    world = World()
    participants = [Simulated(world, "a"), Simulated(world, "b")]

    def interrupt(_: Repeat) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_heat(participants, make_protocol(), now_s=world.now_s, keep=interrupt)
    assert not any(participant.is_alive for participant in participants)


def test_the_caller_is_let_in_before_each_block_and_never_while_one_runs() -> None:
    world = World()
    participants = [Simulated(world, "a", variants=(1, 8)), Simulated(world, "b")]
    seen: list[int] = []
    run_heat(participants, make_protocol(), now_s=world.now_s, pause=lambda: seen.append(len(world.log)))
    assert seen == list(range(len(world.log)))


def test_candidates_that_do_not_fit_into_memory_together_run_one_after_the_other() -> None:
    world = World()
    participants = [Simulated(world, name, resident_bytes=600) for name in ("a", "b")]
    heat = run_heat(participants, make_protocol(), now_s=world.now_s, memory_budget_bytes=1000)
    assert not any(repeat.is_resident for repeat in heat.repeats)
    assert {len(repeat.parts) for repeat in heat.repeats} == {2}
    assert ratio_of(heat, "b").low < 1 < ratio_of(heat, "b").high


def test_several_import_at_once_and_each_of_them_starts_alone() -> None:
    world = World()
    participants = [Simulated(world, name) for name in "abcde"]
    heat = run_heat(participants, make_protocol(), now_s=world.now_s, n_importing=2)
    assert world.most_importing == 2
    assert {len(repeat.parts) for repeat in heat.repeats} == {5}


def test_what_does_not_fit_into_memory_when_imported_runs_alone() -> None:
    world = World()
    participants = [Simulated(world, name, imported_bytes=600) for name in "ab"]
    heat = run_heat(participants, make_protocol(), now_s=world.now_s, memory_budget_bytes=1000, n_importing=2)
    assert not any(repeat.is_resident for repeat in heat.repeats)
    assert {len(repeat.parts) for repeat in heat.repeats} == {2}


def test_a_candidate_that_cannot_import_is_out_and_the_others_go_on() -> None:
    world = World()
    participants = [Simulated(world, "a"), Simulated(world, "b", fails_at=-2), Simulated(world, "c")]
    heat = run_heat(participants, make_protocol(), now_s=world.now_s, n_importing=2)
    assert {part.name for each in heat.repeats for part in each.parts} == {"a", "c"}
    assert heat.failures["b"].reason == "no module named torch"


def test_an_interrupted_heat_goes_on_after_the_repeats_that_it_kept() -> None:
    world = World()
    protocol = make_protocol(min_calls=5, max_calls=200)
    whole = hold(world, Simulated(world, "a"), Simulated(world, "b"), protocol=protocol)
    later = World(seed=1)
    heat = run_heat(
        [Simulated(later, "a", call_ns=9e6), Simulated(later, "b")],
        protocol,
        now_s=later.now_s,
        earlier=whole.repeats[:2],
    )
    assert heat.repeats[:2] == whole.repeats[:2]
    assert [repeat.number for repeat in heat.repeats] == [0, 1, 2]
    # The number of calls was fixed by the first repeat, of 1 ms each, not by the new process.
    assert {len(block.wall_ns) for part in heat.repeats[2].parts for block in part.blocks} == {50}


# --- looks ------------------------------------------------------------------------------------------------


def test_who_is_dropped_by_a_look_runs_no_further_and_keeps_what_it_has() -> None:
    world, seen = World(), list[int]()

    def look(heat: Heat) -> HeatLook:
        seen.append(len(heat.repeats))
        return HeatLook(frozenset({"a", "b"}))

    participants = [Simulated(world, name) for name in "abc"]
    protocol = make_protocol(min_repeats=5, max_repeats=5)
    heat = run_heat(participants, protocol, now_s=world.now_s, look=look)
    assert seen == [3, 4, 5]
    # The reference runs on: the ratios of the others hang on it.
    assert [sorted(part.name for part in each.parts) for each in heat.repeats] == [[*"abc"]] * 3 + [
        [*"ac"]
    ] * 2
    assert reading_of(heat, "b").n_counted == 3 * 40
    assert reading_of(heat, "c").n_counted == 5 * 40
    assert heat.failures == {}
    assert {row.participant for row in heat.unmet} <= {"a", "c"}


@pytest.mark.parametrize("stop", ["decided", "documents"])
def test_a_look_may_end_the_heat_before_its_least_repeats_and_no_width_is_missed_then(stop: Stop) -> None:
    world = World()
    protocol = make_protocol(min_repeats=5, max_repeats=9, targets={"p50": 1e-9})
    participants = [Simulated(world, name) for name in "ab"]
    heat = run_heat(participants, protocol, now_s=world.now_s, look=lambda _: HeatLook(stop=stop))
    assert (len(heat.repeats), heat.stopped, heat.unmet) == (3, stop, ())


def test_an_interrupted_heat_looks_again_at_what_it_kept() -> None:
    def look(heat: Heat) -> HeatLook:
        return HeatLook(frozenset({"b"}) if len(heat.repeats) == 3 else frozenset())

    world = World()
    protocol = make_protocol(min_repeats=5, max_repeats=5)
    whole = run_heat([Simulated(world, name) for name in "abc"], protocol, now_s=world.now_s, look=look)
    later = World()
    again = run_heat(
        [Simulated(later, name) for name in "abc"],
        protocol,
        now_s=later.now_s,
        look=look,
        earlier=whole.repeats[:4],
    )
    assert [[part.name for part in each.parts] for each in again.repeats] == [
        [part.name for part in each.parts] for each in whole.repeats
    ]


# --- settings ---------------------------------------------------------------------------------------------


def test_presets_stand_for_their_values_and_can_be_overridden() -> None:
    quick = TimingProtocol.model_validate({"preset": "quick"})
    assert (quick.min_repeats, quick.max_repeats) == (3, 5)
    assert TimingProtocol.model_validate({"preset": "standard"}) == TimingProtocol()
    assert TimingProtocol.model_validate({"preset": "quick", "time_budget_s": 9}).time_budget_s == 9
    assert TimingProtocol.model_validate({"processes": 7}).max_repeats == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "fast"}, "expected one of quick, standard, rigorous"),
        ({"min_repeats": 9, "max_repeats": 3}, "min_repeats 9 is above max_repeats 3"),
        ({"min_calls": 9, "max_calls": 3}, "min_calls 9 is above max_calls 3"),
        ({"targets": {"p50": 0}}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TimingProtocol.model_validate(values)


def test_iterations_are_a_bound_from_below() -> None:
    protocol = TimingProtocol(iterations=10_000, max_calls=10, min_calls=1)
    assert protocol.samples_per_block(1e6) * protocol.rounds * protocol.min_repeats >= 10_000


def test_disturbed_rounds_count_where_the_others_are_before_the_steady_state() -> None:
    world = World()
    late_then_disturbed = Simulated(world, "a", late_blocks=4, is_disturbed=lambda _, block: block >= 4)
    heat = hold(world, late_then_disturbed, protocol=make_protocol(rounds=10))
    latency = reading_of(heat, "a")
    assert latency.dirty_share == 1.0
    assert latency.n_counted == latency.columns["left_out"].count(DIRTY) > 0
