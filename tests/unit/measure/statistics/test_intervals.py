"""Intervals that cover what they claim, shown on samples whose truth is known; the naive ways must fail."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.measure.statistics.intervals import (
    Interval,
    minimum_samples,
    order_statistic_ranks,
    quantile_intervals,
    rate_interval,
    throughput_interval,
)
from bakeoff.measure.statistics.moderation import Prior
from bakeoff.measure.statistics.ratios import (
    adjusted_confidence,
    judge_ratio,
    pair_quantiles,
    pair_rounds,
    ratio_interval,
)
from bakeoff.measure.statistics.response_limits import least_responses, most_over, slo_is_met, slo_is_missed
from reckoning import Known, reckon_half_width

from ..simulation import Calls, Floats, Order, Rivals

QUANTILES = (0.5, 0.95, 0.99)
FAIR = Calls(sigma=0.1)
# Neighbouring calls alike, some held up, and every process a little different: what a real machine does.
REAL = Calls(sigma=0.1, correlation=0.8, stall_share=0.02, process_effect=0.02)
STALLED = Calls(sigma=0.06, stall_share=0.02)


def quantile_interval(
    repeats: Sequence[Floats], p: float, confidence: float = 0.95, prior: Prior | None = None
) -> Interval | None:
    return quantile_intervals(repeats, (p,), confidence, [prior])[0]


def intervals(runs: Floats, p: float) -> list[Interval]:
    """The interval of each run of repeats."""
    return [must(quantile_interval(list(run), p)) for run in runs]


def intervals_as_if_independent(runs: Floats, p: float) -> list[Interval]:
    """The naive way: all calls as one sample, as if none knew of the others."""
    return [must(quantile_interval([run.ravel()], p)) for run in runs]


def must(interval: Interval | None) -> Interval:
    assert interval is not None
    return interval


def coverage(found: Sequence[Interval], truth: float) -> float:
    return float(np.mean([interval.low <= truth <= interval.high for interval in found]))


def by_number(mine: Sequence[Floats], theirs: Sequence[Floats]) -> dict[int, tuple[Floats, Floats]]:
    return dict(enumerate(zip(mine, theirs, strict=True)))


def ratio_of(mine: Sequence[Floats], theirs: Sequence[Floats], confidence: float = 0.95) -> Interval:
    """The ratio of one candidate that has no heat, from rounds of each process."""
    return ratio_interval(pair_rounds(by_number(mine, theirs)), confidence)


def tail_ratio_of(mine: Sequence[Floats], theirs: Sequence[Floats], p: float) -> Interval | None:
    found = pair_quantiles(by_number(mine, theirs), p)
    return None if found is None else ratio_interval(found)


def ratio_intervals(rivals: Rivals, *, runs: int, seed: int) -> list[Interval]:
    mine, theirs = rivals.draw(np.random.default_rng(seed), runs)
    return [ratio_of(list(a), list(b)) for a, b in zip(mine, theirs, strict=True)]


# --- quantiles ---


@pytest.mark.parametrize("p", QUANTILES)
def test_intervals_of_independent_calls_cover_what_they_claim_and_are_no_wider_than_need_be(p: float) -> None:
    runs = FAIR.draw(np.random.default_rng(1), 1000, 5, 600)
    found = intervals(runs, p)
    # The union of two intervals of 95 % covers somewhat more, most so where the ranks are coarse.
    assert 0.92 <= coverage(found, FAIR.true_quantile(p)) <= (0.99 if p < 0.99 else 0.997)
    ideal = np.median([interval.half_width_ratio for interval in intervals_as_if_independent(runs, p)])
    assert np.median([interval.half_width_ratio for interval in found]) < 1.6 * ideal


@pytest.mark.parametrize("p", QUANTILES)
def test_intervals_cover_with_dependent_calls_stalls_and_unlike_processes(p: float) -> None:
    runs = REAL.draw(np.random.default_rng(2), 1000, 5, 600)
    assert coverage(intervals(runs, p), REAL.true_quantile(p)) >= 0.91


def test_an_interval_that_takes_calls_for_independent_misses_the_median_more_often_than_not() -> None:
    runs = REAL.draw(np.random.default_rng(2), 1000, 5, 600)
    assert coverage(intervals_as_if_independent(runs, 0.5), REAL.true_quantile(0.5)) < 0.5


def test_p99_is_nearly_unbiased_under_stalls_and_a_mean_of_per_process_p99_is_not() -> None:
    runs = STALLED.draw(np.random.default_rng(3), 1000, 10, 300)
    truth = STALLED.true_quantile(0.99)
    pooled = float(np.mean([interval.value for interval in intervals(runs, 0.99)]))
    mean_of_processes = float(np.mean(np.quantile(runs, 0.99, axis=2)))
    assert abs(pooled / truth - 1) <= 0.04
    assert mean_of_processes / truth - 1 < -0.1


def test_the_ranks_leave_exactly_what_the_binomial_distribution_allows_for_every_n_up_to_500() -> None:
    for percent in (10, 50, 90, 95, 99):
        p, tail = percent / 100, Fraction(1, 40)
        # Whole numbers: the weight of k samples below the quantile, of 100 ** n in all.
        weights = [1]
        for n in range(1, 501):
            weights = [
                (weights[k - 1] * percent if k else 0) + (weights[k] * (100 - percent) if k < n else 0)
                for k in range(n + 1)
            ]
            below, above = order_statistic_ranks(n, p, 0.95)
            allowed = tail * 100**n
            at_most = 0 if below is None else sum(weights[: below + 1])
            more_than = 0 if above is None else sum(weights[above + 1 :])
            assert at_most <= allowed
            assert more_than <= allowed
            # One rank further in would be one too many.
            assert at_most + weights[0 if below is None else below + 1] > allowed
            assert more_than + weights[n if above is None else above] > allowed


@pytest.mark.parametrize(("p", "n"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3688)])
def test_a_quantile_has_an_interval_from_this_many_samples_on(p: float, n: int) -> None:
    assert minimum_samples(p) == n
    assert None not in order_statistic_ranks(n, p, 0.95)
    assert None in order_statistic_ranks(n - 1, p, 0.95)


@given(st.floats(0.01, 0.995), st.floats(0.5, 0.999))
def test_the_least_count_of_samples_is_the_first_that_bounds_both_sides(p: float, confidence: float) -> None:
    n = minimum_samples(p, confidence)
    assert None not in order_statistic_ranks(n, p, confidence)
    assert n == 1 or None in order_statistic_ranks(n - 1, p, confidence)


def test_there_is_no_p99_of_367_calls_and_one_of_368() -> None:
    calls = FAIR.draw(np.random.default_rng(4), 1, 4, 92)[0]
    assert quantile_interval([*calls[:3], calls[3][:-1]], 0.99) is None
    found = must(quantile_interval(list(calls), 0.99))
    assert found.low <= found.value <= found.high == calls.max()


@given(st.integers(0, 2**32), st.floats(1e-9, 1e9), st.sampled_from(QUANTILES))
def test_a_quantile_and_its_interval_scale_with_the_unit(seed: int, factor: float, p: float) -> None:
    calls = FAIR.draw(np.random.default_rng(seed), 1, 4, 100)[0]
    plain, scaled = must(quantile_interval(list(calls), p)), must(quantile_interval(list(factor * calls), p))
    assert np.allclose(scaled, factor * np.array(plain), rtol=1e-12, atol=0)


@given(st.integers(0, 2**32), st.permutations(range(4)), st.sampled_from(QUANTILES))
def test_neither_the_order_of_processes_nor_of_calls_changes_a_quantile(
    seed: int, order: list[int], p: float
) -> None:
    calls = FAIR.draw(np.random.default_rng(seed), 1, 4, 100)[0]
    shuffled = [calls[repeat][::-1] for repeat in order]
    assert np.allclose(
        must(quantile_interval(shuffled, p)), must(quantile_interval(list(calls), p)), rtol=1e-12
    )


# --- ratios ---


@pytest.mark.parametrize("ratio", [1.03, 1.05, 1.10])
def test_interleaved_blocks_find_the_ratio_on_a_machine_that_drifts_by_a_third(ratio: float) -> None:
    found = ratio_intervals(Rivals(ratio), runs=1000, seed=6)
    assert 0.92 <= coverage(found, ratio) <= 0.99
    if ratio >= 1.05:
        assert all(interval.value > 1 for interval in found)


def test_one_candidate_after_the_other_gets_the_rank_wrong_on_the_same_machine() -> None:
    found = ratio_intervals(Rivals(1.05, order="one after the other"), runs=1000, seed=6)
    assert np.mean([interval.value < 1 for interval in found]) > 0.2
    assert coverage(found, 1.05) < 0.9


def claims(rivals: Rivals) -> float:
    """Share of runs that claim a difference."""
    verdicts = [judge_ratio(interval) for interval in ratio_intervals(rivals, runs=500, seed=7)]
    return float(np.mean([verdict in {"faster", "slower"} for verdict in verdicts]))


def test_two_equal_candidates_are_seldom_said_to_differ() -> None:
    found = [judge_ratio(interval) for interval in ratio_intervals(Rivals(1.0), runs=500, seed=7)]
    assert claims(Rivals(1.0)) <= 0.07
    assert found.count("equivalent") > 0.25 * len(found)


def test_a_disadvantage_of_the_second_place_does_not_decide_when_the_order_is_shuffled() -> None:
    # Coming second costs 5 %: a fixed order must see a difference that is not there.
    assert claims(Rivals(1.0, second_is_slower=0.05)) <= 0.07
    assert claims(Rivals(1.0, second_is_slower=0.05, order="reference first")) > 0.9


@pytest.mark.parametrize("order", ["shuffled", "one after the other"])
def test_changing_places_with_the_reference_turns_the_ratio_round_and_the_verdict_with_it(
    order: Order,
) -> None:
    turned = {"faster": "slower", "slower": "faster"}
    mine, theirs = Rivals(1.02, order=order).draw(np.random.default_rng(8), 200)
    for a, b in zip(mine, theirs, strict=True):
        there, back = ratio_of(list(a), list(b)), ratio_of(list(b), list(a))
        assert np.allclose(there, 1 / np.array((back.value, back.high, back.low)), rtol=1e-12)
        assert judge_ratio(back) == turned.get(judge_ratio(there), judge_ratio(there))


@given(st.integers(0, 2**32), st.lists(st.floats(1e-3, 1e3), min_size=12, max_size=12))
def test_what_slows_a_whole_round_leaves_the_ratio_as_it_was(seed: int, factors: list[float]) -> None:
    mine, theirs = Rivals(1.1, repeats=3, rounds=4).draw(np.random.default_rng(seed), 1)
    slowed = np.array(factors).reshape(3, 4)
    plain = ratio_of(list(mine[0]), list(theirs[0]))
    disturbed = ratio_of(list(slowed * mine[0]), list(slowed * theirs[0]))
    assert np.allclose(disturbed, plain, rtol=1e-12, atol=0)


def test_one_disturbed_round_of_ten_hardly_moves_the_ratio() -> None:
    mine, theirs = Rivals(1.1, noise=0.001, step=0.0, process_effect=0.0).draw(np.random.default_rng(9), 1)
    mine[0, :, 3] *= 50
    assert ratio_of(list(mine[0]), list(theirs[0])).value == pytest.approx(1.1, rel=2e-3)


def test_the_interval_is_the_mean_of_the_repeats_with_a_moderated_t() -> None:
    # Log ratios .1, .2, .3: mean .2, sd .1. With a prior of 6 degrees of freedom at .05 the variance is
    # (2 · .01 + 6 · .0025) / 8 = .004375, and t of 8 degrees of freedom is 2.3060 (any table).
    found = pair_rounds(by_number([np.array([math.exp(log)]) for log in (0.1, 0.2, 0.3)], [np.ones(1)] * 3))
    known = Prior(np.array([6.0]), np.array([0.05**2]), np.ones(1))
    half = 2.306004 * math.sqrt(0.004375 / 3)
    assert np.allclose(np.log(ratio_interval(found, prior=known)), (0.2, 0.2 - half, 0.2 + half), rtol=1e-6)


@pytest.mark.parametrize("logs", [(0.1, 0.2, 0.3), (0.1, 0.103), (-1.0, 1.0, 0.0, 0.5, 0.1)])
def test_without_a_heat_the_instruments_own_prior_meets_the_one_series(logs: tuple[float, ...]) -> None:
    mine = [np.array([math.exp(log)]) for log in logs]
    half = reckon_half_width(logs, Known("ratio", [statistics.variance(logs)], len(logs) - 1))
    middle = float(np.mean(logs))
    found = ratio_of(mine, [np.ones(1)] * len(logs))
    assert np.log(found) - middle == pytest.approx([0, -half, half], rel=2e-3, abs=1e-12)


def test_a_rate_of_several_processes_is_covered_by_its_interval() -> None:
    generator = np.random.default_rng(5)
    runs = 100 * np.exp(generator.normal(0, 0.05, (1000, 5)))
    found = coverage([rate_interval(run.tolist()) for run in runs], 100)
    assert found >= 0.94  # the spread is taken around the median: a little wider than around the mean


def test_one_process_that_was_held_up_does_not_move_the_rate_and_widens_its_interval() -> None:
    calm, disturbed = rate_interval([99, 100, 101]), rate_interval([50, 100, 101])
    assert calm.value == disturbed.value == pytest.approx(100)
    assert disturbed.low < calm.low < calm.high < disturbed.high


def test_a_rate_of_no_process_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one repeat"):
        rate_interval([])


def test_a_single_process_gives_a_ratio_without_bounds_and_no_verdict() -> None:
    found = ratio_of([np.array([2.0, 2.2, 2.4])], [np.array([1.0, 1.1, 1.2])])
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == (0.0, math.inf)
    assert judge_ratio(found) == "inconclusive"


def test_rounds_without_a_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one process that both ran"):
        pair_rounds({})
    # One round would otherwise be stretched over all of the other's.
    for mine, theirs in ((3, 1), (1, 3)):
        words = f"process 7: rounds of the candidate {mine}, of the reference {theirs}"
        with pytest.raises(ValueError, match=words):
            pair_rounds({2: (np.ones(3), np.ones(3)), 7: (np.ones(mine), np.ones(theirs))})


@pytest.mark.parametrize("calls", [FAIR, REAL, STALLED], ids=["fair", "real", "stalled"])
@pytest.mark.parametrize("p", QUANTILES)
def test_ratios_of_quantiles_cover_the_true_ratio(calls: Calls, p: float) -> None:
    rng = np.random.default_rng(10)
    mine, theirs = 1.1 * calls.draw(rng, 300, 5, 300), calls.draw(rng, 300, 5, 300)
    found = [must(tail_ratio_of(list(a), list(b), p)) for a, b in zip(mine, theirs, strict=True)]
    assert coverage(found, 1.1) >= 0.91


def test_a_ratio_of_p99_needs_368_calls_on_both_sides() -> None:
    many, few = [np.linspace(1, 2, 92)] * 4, [np.linspace(1, 2, 92)] * 3 + [np.linspace(1, 2, 91)]
    assert tail_ratio_of(many, few, 0.99) is None
    assert tail_ratio_of(few, many, 0.99) is None
    alike = must(tail_ratio_of(many, many, 0.99))
    # That four processes were alike does not prove that the next one is; a few per mille are left.
    assert alike.value == 1.0
    assert alike.low * alike.high == pytest.approx(1.0)
    assert 0 < alike.half_width_ratio < 0.005
    assert must(tail_ratio_of([np.concatenate(many)], [np.concatenate(many)], 0.99)) == (
        1.0,
        0.0,
        math.inf,
    )


@given(st.integers(0, 2**32), st.floats(1e-6, 1e6))
def test_a_ratio_of_quantiles_knows_no_unit_and_turns_round_with_its_sides(seed: int, factor: float) -> None:
    mine, theirs = FAIR.draw(np.random.default_rng(seed), 2, 3, 50)
    plain = must(tail_ratio_of(list(mine), list(theirs), 0.9))
    scaled = must(tail_ratio_of(list(factor * mine), list(factor * theirs), 0.9))
    turned = must(tail_ratio_of(list(theirs), list(mine), 0.9))
    assert np.allclose(scaled, plain, rtol=1e-11, atol=0)
    assert np.allclose(plain, 1 / np.array((turned.value, turned.high, turned.low)), rtol=1e-11)


# --- verdicts ---


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.05, 1.15, "slower"),
        (0.85, 0.95, "faster"),
        (0.99, 1.01, "equivalent"),
        (0.97, 1.01, "inconclusive"),
        (0.99, 1.03, "inconclusive"),
        (0.50, 2.00, "inconclusive"),
        (1.001, 1.002, "slower"),  # certain, if small
        (0.998, 0.999, "faster"),
        (1.0, 1.01, "equivalent"),  # touching 1 is not a difference
        (0.9804, 1.0199, "equivalent"),  # 1 / 1.02 is .98039: the zone is symmetric on the log scale
        (0.9803, 1.0199, "inconclusive"),
        (0.9804, 1.0201, "inconclusive"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_the_verdict_says_no_more_than_the_interval(low: float, high: float, verdict: str) -> None:
    assert judge_ratio(Interval((low * high) ** 0.5, low, high)) == verdict


def test_a_narrower_zone_asks_for_a_narrower_interval() -> None:
    interval = Interval(1.0, 0.995, 1.005)
    assert judge_ratio(interval, zone=0.01) == "equivalent"
    assert judge_ratio(interval, zone=0.001) == "inconclusive"


def test_a_leaderboard_of_equals_claims_a_difference_no_more_often_than_one_pair() -> None:
    rng = np.random.default_rng(11)
    adjusted = adjusted_confidence(0.95, 9)
    errors: dict[float, int] = {adjusted: 0, 0.95: 0}
    for _ in range(400):
        theirs = list(np.exp(0.02 * rng.standard_normal((5, 10))))
        rivals = [list(np.exp(0.02 * rng.standard_normal((5, 10)))) for _ in range(9)]
        for confidence in errors:
            found = [ratio_of(mine, theirs, confidence) for mine in rivals]
            errors[confidence] += any(not interval.low <= 1 <= interval.high for interval in found)
    assert errors[adjusted] / 400 <= 0.07
    # Without the adjustment. Nine Student's t would err in .18; the weak prior has few repeats vary somewhat
    # more than these do, and what is left is .10 to .12 whatever the noise.
    assert errors[0.95] / 400 > 0.08


def test_the_error_is_shared_out_between_the_comparisons() -> None:
    assert adjusted_confidence(0.95, 5) == pytest.approx(0.99)
    assert adjusted_confidence(0.95, 1) == pytest.approx(0.95)
    assert adjusted_confidence(0.95, 0) == pytest.approx(0.95)


# --- service level ---


def exact_chance_of_so_few(n: int, n_over: int, percent: int) -> Fraction:
    """P(binomial(n, 1 - percent / 100) <= n_over), in whole numbers."""
    weights = (math.comb(n, k) * (100 - percent) ** k * percent ** (n - k) for k in range(n_over + 1))
    return Fraction(sum(weights), 100**n)


@pytest.mark.parametrize("percent", [50, 90, 95, 99])
@pytest.mark.parametrize("n", [1, 10, 46, 100, 473, 1000])
def test_the_service_level_verdict_is_the_exact_binomial_one(n: int, percent: int) -> None:
    for n_over in {*range(min(n, 25) + 1), n // 10, n // 2, n}:
        is_met = exact_chance_of_so_few(n, n_over, percent) <= Fraction(1, 20)
        assert slo_is_met(n, n_over, percent / 100) is is_met, (n, n_over, percent)


@pytest.mark.parametrize(
    ("p", "confidence", "needed"), [(0.9, 0.95, 46), (0.99, 0.95, 473), (0.9, 0.99, 64), (0.99, 0.99, 662)]
)
def test_with_one_slow_response_it_takes_as_many_as_loadgen_asks_for(
    p: float, confidence: float, needed: int
) -> None:
    assert slo_is_met(needed, 1, p, confidence)
    assert not slo_is_met(needed - 1, 1, p, confidence)


def test_no_responses_meet_nothing() -> None:
    assert not slo_is_met(0, 0, 0.99)


@given(st.integers(1, 5000), st.floats(0.5, 0.999))
def test_the_most_late_responses_are_one_less_than_too_many(n: int, p: float) -> None:
    most = most_over(n, p)
    assert most is None or slo_is_met(n, most, p)
    assert not slo_is_met(n, 0 if most is None else most + 1, p)


@given(st.floats(0.5, 0.999), st.integers(0, 5))
def test_the_least_responses_are_one_more_than_too_few(p: float, n_over: int) -> None:
    least = least_responses(p, n_over)
    assert slo_is_met(least, n_over, p)
    assert not slo_is_met(least - 1, n_over, p)


@pytest.mark.parametrize(("n", "p"), [(100, 0.9), (256, 0.99), (700, 0.99)])
def test_so_many_are_missed_by_chance_in_one_of_twenty_cases_at_most(n: int, p: float) -> None:
    from scipy.stats import binom

    for n_over in range(n + 1):
        by_chance = 1.0 if n_over == 0 else float(binom.sf(n_over - 1, n, 1 - p))
        assert slo_is_missed(n, n_over, p) is (by_chance <= 0.05)
        assert not (slo_is_missed(n, n_over, p) and slo_is_met(n, n_over, p))


# --- throughput ---


@pytest.mark.parametrize("process_effect", [0.0, 0.05])
def test_intervals_of_throughput_cover_the_true_rate(process_effect: float) -> None:
    rng = np.random.default_rng(12)
    rates = 250 / Calls(sigma=0.02, process_effect=process_effect).draw(rng, 1000, 5, 10)
    assert 0.92 <= coverage([throughput_interval(list(run)) for run in rates], 250) <= 0.99


def test_throughput_of_one_process_has_no_bounds() -> None:
    found = throughput_interval([np.array([90.0, 100.0, 110.0])])
    assert found.value == pytest.approx(100)
    assert (found.low, found.high) == (0.0, math.inf)


def test_throughput_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one repeat"):
        throughput_interval([])
