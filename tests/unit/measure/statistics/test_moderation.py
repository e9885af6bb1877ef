"""Moderated variances: intervals of a few repeats that hold, also where candidates differ in spread."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bakeoff.measure.statistics import moderation
from bakeoff.measure.statistics.moderation import (
    DEGREES,
    SPREAD_LOG_SD,
    TYPICAL_SPREAD,
    HeatDraws,
    Of,
    Posterior,
    Prior,
    Spread,
    center_ratios,
    center_series,
    fit_prior,
    joint_factor,
    moderate,
    prior_of,
)

from ..simulation import Floats

CONFIDENCE = 0.95
N_HEATS = 250


class Found(NamedTuple):
    """Half-widths [ratios] on the log scale, each by itself and all together."""

    single: Floats
    joint: Floats


Method = Callable[[Floats], Found]
Holds = NDArray[np.bool_]
Spreads = Callable[[np.random.Generator, int], Floats]


def alike(_: np.random.Generator, count: int) -> Floats:
    return np.full(count, 0.03)


def mixed(random: np.random.Generator, count: int) -> Floats:
    drawn: Floats = np.exp(random.uniform(math.log(0.01), math.log(0.12), count))
    return drawn


def one_wild(_: np.random.Generator, count: int) -> Floats:
    """The second candidate, which is the first ratio."""
    spreads = np.full(count, 0.03)
    spreads[1] = 0.25
    return spreads


@pytest.fixture(autouse=True)
def fewer_joint_draws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fifth of the draws errs by 1 or 2 % of a width, which no share of heats can tell."""
    moderation._joint_factor.cache_clear()
    monkeypatch.setattr(moderation, "_JOINT_DRAWS", 4000)
    yield
    moderation._joint_factor.cache_clear()


def make_heat(
    random: np.random.Generator,
    spreads: Spreads,
    *,
    count: int = 6,
    repeats: int = 3,
    odd_share: float = 0.15,
) -> Floats:
    """Log ratios [candidates, repeats] to the first, all of them 0 in truth, on a machine that drifts."""
    logs = random.standard_normal((count, repeats)) * spreads(random, count)[:, np.newaxis]
    logs += 0.2 * random.standard_normal(repeats)
    if random.random() < odd_share:
        logs[random.integers(count), random.integers(repeats)] += 0.2 * random.choice((-1, 1))
    ratios: Floats = logs - logs[:1]
    return ratios


def spread_of(ratios: Floats, of: Of = "ratio", sizes: tuple[int, ...] | None = None) -> Spread:
    center = center_series if of == "time" else center_ratios
    return Spread(
        quantile=0.5,
        of=of,
        batch_sizes=sizes or (1,) * len(ratios),
        deviations=tuple(map(tuple, center(ratios).tolist())),
    )


def moderated(ratios: Floats) -> Found:
    spread = spread_of(ratios)
    prior = prior_of(spread)
    halves = np.array([moderate(row, "ratio", prior).half_width(CONFIDENCE) for row in ratios[1:]])
    return Found(halves, halves * joint_factor(spread.ratios_at(1), prior, CONFIDENCE))


def student(ratios: Floats) -> Found:
    """Student's t, and Bonferroni for all together."""
    from scipy.stats import t

    count, repeats = ratios[1:].shape
    errors = ratios[1:].std(axis=1, ddof=1) / math.sqrt(repeats)
    single, joint = (t.ppf(1 - (1 - CONFIDENCE) / 2 / share, repeats - 1) for share in (1, count))
    return Found(single * errors, joint * errors)


def pooled(ratios: Floats) -> Found:
    """One variance for all, as if nothing set the candidates apart; Bonferroni for all together."""
    from scipy.stats import t

    count, repeats = ratios[1:].shape
    degrees = count * (repeats - 1)
    error = math.sqrt(float((center_series(ratios[1:]) ** 2).sum()) / degrees / repeats)
    single, joint = (t.ppf(1 - (1 - CONFIDENCE) / 2 / share, degrees) for share in (1, count))
    return Found(np.full(count, single * error), np.full(count, joint * error))


def run(method: Method, spreads: Spreads, *, n_heats: int = N_HEATS) -> tuple[Holds, Holds, Floats]:
    """Whether each interval holds [heats, ratios], whether it does jointly, and joint half-widths."""
    random = np.random.default_rng(20)
    heats = [make_heat(random, spreads) for _ in range(n_heats)]
    found = [method(ratios) for ratios in heats]
    off = np.array([np.abs(ratios[1:].mean(axis=1)) for ratios in heats])
    singles, joints = (np.array(part) for part in zip(*found, strict=True))
    return off <= singles, off <= joints, joints


def holds(share: float, least: float, n: int = N_HEATS) -> bool:
    """Whether a share of heats is not below a bar by more than two of its standard errors."""
    return share + 2 * math.sqrt(least * (1 - least) / n) >= least


def is_covered(method: Method, spreads: Spreads) -> bool:
    single, joint, _ = run(method, spreads)
    return (
        holds(float(single.mean()), 0.93)
        # An average hides a single wild candidate: at three repeats its own interval holds in .87 or so, of
        # which the joint one makes .95.
        and holds(float(single.mean(axis=0).min()), 0.87)
        and holds(float(joint.mean(axis=0).min()), 0.93)
        # All are twins in truth, so that this is the share of heats that tell none apart, too.
        and holds(float(joint.all(axis=1).mean()), 0.93)
    )


@pytest.mark.parametrize("spreads", [alike, mixed, one_wild])
def test_at_three_repeats_single_and_joint_intervals_hold(spreads: Spreads) -> None:
    assert is_covered(moderated, spreads)


def test_one_variance_for_all_candidates_does_not_hold_where_one_is_wild() -> None:
    assert not is_covered(pooled, one_wild)


@pytest.mark.parametrize(("spreads", "times"), [(alike, 1.5), (mixed, 1.5), (one_wild, 1.0)])
def test_intervals_of_three_repeats_are_narrower_than_students(spreads: Spreads, times: float) -> None:
    # Where one of six is wild, small d0 get the weight, and all of them pay for that.
    ours, theirs = (float(np.median(run(each, spreads, n_heats=100)[2])) for each in (moderated, student))
    assert ours <= theirs / times


def test_candidates_one_and_a_half_times_apart_are_told_apart() -> None:
    random = np.random.default_rng(21)
    told = []
    for _ in range(100):
        ratios = make_heat(random, lambda r, count: r.uniform(0.03, 0.05, count), odd_share=0.0)
        ratios[1:] += math.log(1.5)
        told.append(bool((ratios[1:].mean(axis=1) > moderated(ratios).joint).all()))
    assert np.mean(told) >= 0.95


def test_one_odd_process_hardly_widens_the_intervals_of_the_others() -> None:
    random = np.random.default_rng(22)
    calm, odd = [], []
    for _ in range(80):
        ratios = make_heat(random, alike, odd_share=0.0)
        calm.append([part[1:] for part in moderated(ratios)])
        ratios[1, random.integers(3)] += math.log(1.3)
        odd.append([part[1:] for part in moderated(ratios)])
    single, joint = np.median(odd, axis=(0, 2)) / np.median(calm, axis=(0, 2))
    # A pooled variance would make it 4: an odd deviation of .26 beside a spread of .042.
    assert single < 1.6
    assert joint < 1.75


def test_a_wild_candidates_own_interval_follows_its_own_repeats() -> None:
    random = np.random.default_rng(23)
    shares = []
    for repeats in (3, 5, 10):
        heats = [make_heat(random, one_wild, repeats=repeats, odd_share=0.0) for _ in range(40)]
        own, students = (np.median([each(row).single[0] for row in heats]) for each in (moderated, student))
        others = np.median([moderated(row).single[1:] for row in heats])
        shares.append(own / students)
        assert own > 2 * others
    # Of Student's width, which takes nothing from the others.
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.8


def test_little_is_learned_from_others_where_candidates_differ() -> None:
    random = np.random.default_rng(24)
    learned = {}
    for spreads in (alike, mixed, one_wild):
        priors = [prior_of(spread_of(make_heat(random, spreads, odd_share=0.0))) for _ in range(50)]
        learned[spreads] = np.mean([prior.weights @ prior.degrees for prior in priors])
    assert learned[alike] > 1.1 * learned[mixed]
    assert learned[mixed] > 1.1 * learned[one_wild]


# --- the prior ---


def test_without_another_candidate_the_prior_is_the_instruments_own() -> None:
    alone = prior_of(spread_of(np.array([[0.3, -0.2, 0.1]])))
    own = fit_prior((), 2, 0.0, "ratio")
    for found, expected in zip(alone, own, strict=True):
        assert np.array_equal(found, expected)
    weights = np.exp(-0.5 * (np.log(np.sqrt(own.variances) / TYPICAL_SPREAD["ratio"]) / SPREAD_LOG_SD) ** 2)
    weights /= np.sqrt(own.degrees)
    assert np.allclose(own.weights, weights / weights.sum(), rtol=1e-12)
    assert {*own.degrees.tolist()} == {*DEGREES}


def test_the_prior_weighs_its_grid_by_scaled_f_densities() -> None:
    from scipy.stats import f

    ratios = make_heat(np.random.default_rng(25), mixed)
    prior, own = prior_of(spread_of(ratios)), fit_prior((), 2, 0.0, "ratio")
    known = dict(zip(zip(own.degrees, own.variances, strict=True), own.weights, strict=True))
    # What a row of deviations from the mean of six has of the variance of a ratio.
    variances = center_ratios(ratios).var(axis=1, ddof=1) * 12 / 5
    expected = np.array([
        known[d0, v0] * np.prod(f.pdf(variances / v0, 2, d0) / v0) ** (5 / 6)
        for d0, v0 in zip(prior.degrees, prior.variances, strict=True)
    ])  # fmt: skip
    assert np.allclose(prior.weights, expected / expected.sum(), rtol=1e-9)


def test_rows_are_scaled_to_the_variance_of_a_ratio_of_two() -> None:
    random = np.random.default_rng(26)
    logs = 0.03 * random.standard_normal((2000, 6, 3))
    scaled = np.array([center_ratios(each - each[:1]) for each in logs]).var(axis=2, ddof=1) * 12 / 5
    assert scaled.mean() == pytest.approx(2 * 0.03**2, rel=0.05)


def test_a_size_that_repeats_another_adds_no_degrees_of_freedom() -> None:
    ratios = make_heat(np.random.default_rng(27), mixed)
    once, twice = spread_of(ratios), spread_of(ratios)
    twice = once.model_copy(
        update={"batch_sizes": (1,) * 6 + (8,) * 6, "deviations": once.deviations + twice.deviations}
    )
    for found, expected in zip(prior_of(twice), prior_of(once), strict=True):
        assert np.allclose(found, expected, rtol=1e-9)


def test_times_of_many_candidates_count_as_one_series() -> None:
    row = np.array([[0.1, -0.04, 0.02]])
    one, six = (prior_of(spread_of(np.repeat(row, count, axis=0), "time")) for count in (1, 6))
    for found, expected in zip(six, one, strict=True):
        assert np.allclose(found, expected, rtol=1e-9)


TABLES = st.integers(0, 2**32).map(lambda seed: make_heat(np.random.default_rng(seed), mixed))


def alike_prior(first: Prior, second: Prior) -> bool:
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-6) for a, b in zip(first, second, strict=True)
    )


@settings(max_examples=20)
@given(TABLES, st.permutations(range(6)), st.permutations(range(3)))
def test_no_order_of_candidates_or_repeats_and_no_reference_matters(
    ratios: Floats, candidates: list[int], repeats: list[int]
) -> None:
    prior = prior_of(spread_of(ratios))
    # A permutation puts another candidate first, and the ratios are then to that one.
    turned = ratios[candidates][:, repeats]
    turned -= turned[:1]
    again = prior_of(spread_of(turned))
    assert alike_prior(prior, again)
    a, b = candidates.index(2), candidates.index(5)
    there = moderate(ratios[2] - ratios[5], "ratio", prior)
    here = moderate(turned[a] - turned[b], "ratio", again)
    assert here.center == pytest.approx(there.center, abs=1e-12)
    assert here.half_width(0.95) == pytest.approx(there.half_width(0.95), rel=1e-6)


def test_the_joint_factor_knows_no_order_but_for_chance() -> None:
    ratios = make_heat(np.random.default_rng(28), mixed)
    spread = spread_of(ratios)
    prior, rows = prior_of(spread), spread.ratios_at(1)
    factors = [
        joint_factor(each, prior, 0.95) for each in (rows, rows[::-1], rows[:, ::-1], rows[[2, 0, 1, 4, 3]])
    ]
    assert factors == pytest.approx([factors[0]] * 4, rel=0.05)
    assert 1.2 < factors[0] < 2
    assert joint_factor(rows[:1], prior, 0.95) == 1.0
    assert joint_factor(rows[:, :1], prior, 0.95) == 1.0


def test_the_joint_factor_grows_with_the_ratios_and_stays_below_bonferroni() -> None:
    rows = center_series(make_heat(np.random.default_rng(29), alike, count=19)[1:])
    prior = Prior(np.array([8.0]), np.array([2 * 0.03**2]), np.ones(1))
    factors = [joint_factor(rows[:count], prior, 0.95) for count in (1, 2, 5, 18)]
    assert factors == sorted(factors)
    posterior = moderate(rows[0], "ratio", prior)
    bonferroni = posterior.half_width(1 - 0.05 / 18) / posterior.half_width(0.95)
    assert 1.3 < factors[-1] < bonferroni


# --- posteriors ---


def test_the_half_width_of_a_mixture_leaves_a_tail_on_each_side() -> None:
    from scipy.stats import t

    posterior = Posterior(0.3, np.array([3.0, 10.0]), np.array([0.5, 0.01]), np.array([0.25, 0.75]))
    for confidence in (0.5, 0.95, 0.999):
        half = posterior.half_width(confidence)
        beyond = posterior.weights @ t.sf(half / posterior.scales, posterior.degrees)
        assert beyond == pytest.approx((1 - confidence) / 2, rel=1e-6)
    drawn = np.abs(posterior.draw(np.random.default_rng(30), 200_000) - 0.3)
    assert float(np.quantile(drawn, 0.95)) == pytest.approx(posterior.half_width(0.95), rel=0.03)


def test_a_single_repeat_has_no_posterior() -> None:
    with pytest.raises(ValueError, match="at least two repeats"):
        moderate([0.1], "ratio")


@given(st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=6), st.floats(-20, 20))
def test_a_shift_of_all_logarithms_moves_the_center_alone(logs: list[float], shift: float) -> None:
    plain, moved = moderate(logs, "ratio"), moderate([each + shift for each in logs], "ratio")
    assert moved.center == pytest.approx(plain.center + shift, abs=1e-9)
    assert moved.half_width(0.95) == pytest.approx(plain.half_width(0.95), rel=1e-3, abs=1e-7)


# --- draws ---


def draw_all(rows: Floats, prior: Prior, order: list[int], count: int = 100_000) -> dict[int, Floats]:
    heat = HeatDraws(prior, rows.shape[1], np.random.default_rng(31), count)
    return {number: heat.draw(rows[number], np.random.default_rng([32, number])) for number in order}


@pytest.mark.parametrize("spreads", [alike, mixed, one_wild])
def test_draws_of_ratios_and_their_differences_are_as_wide_as_intervals(spreads: Spreads) -> None:
    ratios = make_heat(np.random.default_rng(33), spreads)
    prior, rows = prior_of(spread_of(ratios)), center_series(ratios)[1:]
    drawn = draw_all(rows, prior, [0, 1, 4])
    for found, deviations in (
        (drawn[0], rows[0]),
        (drawn[4], rows[4]),
        (drawn[0] - drawn[4], rows[0] - rows[4]),
        (drawn[1] - drawn[4], rows[1] - rows[4]),
    ):
        half = moderate(deviations, "ratio", prior).half_width(0.95)
        assert float(np.quantile(np.abs(found), 0.95)) == pytest.approx(half, rel=0.04)
        assert abs(float(np.median(found))) < 0.02 * half


def test_draws_of_a_candidate_do_not_depend_on_who_else_is_drawn() -> None:
    ratios = make_heat(np.random.default_rng(34), mixed)
    prior, rows = prior_of(spread_of(ratios)), center_series(ratios)[1:]
    alone, first, last = (draw_all(rows, prior, each, 500)[3] for each in ([3], [3, 0, 1], [4, 2, 3]))
    assert np.array_equal(alone, first)
    assert np.array_equal(alone, last)


def test_a_spread_is_read_back_from_json_as_it_was() -> None:
    spread = spread_of(make_heat(np.random.default_rng(35), mixed))
    text = spread.model_dump_json()
    assert Spread.model_validate_json(text) == spread
    assert Spread.model_validate(json.loads(text), strict=False) == spread
