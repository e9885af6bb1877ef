"""Moderated variances: differences between fresh processes, learned from all candidates of a heat together.

Three repeats of one candidate say almost nothing about the spread between its processes. All candidates and
batch sizes of a heat together say much more. So each variance is shrunk towards the others, and the degrees
of freedom add up (the moderated t of Smyth, Statistical Applications in Genetics and Molecular Biology 3,
2004). The model, for the logarithm of a time or of a ratio:

    deviations of one repeat ~ normal with variance v
    v ~ d0 · v0 / chi-squared(d0)                      the same d0 and v0 for all of a heat

Smyth fits d0 and v0 by moments, which fails for a handful of series. Here both stay uncertain: a grid of
values is weighted by how well each explains the sample variances (scaled F densities) and by a weak prior. An
interval then comes from a mixture of t distributions. If candidates differ in spread, small d0 get the
weight, and each variance follows its own data. Phipson et al. (Annals of Applied Statistics 10, 2016) fit a
second time for that robustness.

Everything here is pure; `benchmarks/intervals.py` shows coverage and width by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.record import Record

Floats = NDArray[np.float64]
Of = Literal["time", "ratio", "ratio of CPU time"]

# The instrument's own prior of sqrt(v0), a log-normal: its median, and the standard deviation of its
# logarithm. The medians come from 13 recorded heats (two virtual CPUs, quiet and loaded), with 2 to 10 % for
# ratios and 2 to 27 % for times. The width is four times theirs, so that a few repeats of a single pair
# overrule it.
TYPICAL_SPREAD: Mapping[Of, float] = {"time": 0.06, "ratio": 0.04, "ratio of CPU time": 0.04}
SPREAD_LOG_SD = 2.0
# d0 has a prior of 1 / sqrt(d0) on these. The cap leaves a candidate's own data at least a fifth of the
# weight at three repeats.
DEGREES = (1.0, 2.0, 4.0, 8.0)
_SPREADS = tuple(float(each) for each in np.geomspace(0.002, 1.5, 23))
# A virtual clock may show no spread at all, which has no logarithm.
_LEAST_VARIANCE = 1e-8
# Grid points with less weight than this together change no visible digit.
_NEGLIGIBLE = 1e-4
# Half-widths are exact to about so many parts of one.
_TAIL_TOLERANCE = 1e-10
_MAX_SECANTS = 20
_JOINT_DRAWS = 20_000
_JOINT_SEED = 20_040_101


class Spread(Record):
    """Deviations of the repeats of all candidates of a heat in one statistic, on the log scale.

    Attributes:
        quantile: Quantile of a repeat's calls that is the statistic, between 0 and 1.
        of: ``time``, or the ratio to the reference of the same rounds.
        batch_sizes: Batch size of each row.
        deviations: Deviations [candidates × batch sizes][repeats], each row with mean 0. For ratios, the mean
            over the candidates of a batch size is also subtracted, and the first row of each batch size is
            the reference's.
    """

    quantile: float
    of: Of
    batch_sizes: tuple[int, ...]
    deviations: tuple[tuple[float, ...], ...]

    @property
    def n_repeats(self) -> int:
        """Number of repeats of each row."""
        return len(self.deviations[0]) if self.deviations else 0

    def ratios_at(self, batch_size: int) -> Floats:
        """Return deviations of the log ratios to the reference [candidates, repeats], without its own row."""
        rows = [
            row for row, size in zip(self.deviations, self.batch_sizes, strict=True) if size == batch_size
        ]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), self.n_repeats)
        ratios: Floats = table[1:] - table[:1]
        return ratios


class Prior(NamedTuple):
    """Prior of the variance of one more series: a mixture of scaled inverse chi-squared distributions.

    Attributes:
        degrees: d0 of each component.
        variances: v0 of each component.
        weights: Weights of the components; they sum to 1.
    """

    degrees: Floats
    variances: Floats
    weights: Floats


class Posterior(NamedTuple):
    """Posterior of a mean, on the log scale: a mixture of t distributions around one center.

    Attributes:
        center: Center of all components.
        degrees: Degrees of freedom of each component.
        scales: Scale of each component.
        weights: Weights of the components.
    """

    center: float
    degrees: Floats
    scales: Floats
    weights: Floats

    def half_width(self, confidence: float) -> float:
        """Return half the width of the central interval.

        The tail beyond a half-width is nearly a power of it, so secants on both logs need half the steps of a
        general root finder, which does what is left.
        """
        from scipy.optimize import brentq
        from scipy.special import stdtr, stdtrit

        tail = (1 - confidence) / 2
        ends = stdtrit(self.degrees, 1 - tail) * self.scales
        low, high = float(ends.min()), float(ends.max())
        if high <= low * (1 + 1e-12):
            return high

        def excess(log_half: float) -> float:
            return math.log(
                float(self.weights @ stdtr(self.degrees, -math.exp(log_half) / self.scales)) / tail
            )

        # Of scipy, brentq alone takes 1.2 times as long, newton 1.6 times, and toms748 4.6 times.
        least, most = math.log(low), math.log(high)
        before, now = least, math.log(float(self.weights @ ends))
        excess_before, excess_now = excess(before), excess(now)
        for _ in range(_MAX_SECANTS):
            if abs(excess_now) <= _TAIL_TOLERANCE:
                return math.exp(now)
            if excess_now == excess_before:
                break
            step = excess_now * (now - before) / (excess_now - excess_before)
            before, excess_before, now = now, excess_now, now - step
            if not least <= now <= most:
                break
            excess_now = excess(now)
        return math.exp(float(brentq(excess, least, most, xtol=_TAIL_TOLERANCE)))

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """Draw means [count], on the log scale."""
        component = random.choice(self.weights.size, size=count, p=self.weights)
        drawn: Floats = self.center + self.scales[component] * random.standard_t(self.degrees[component])
        return drawn


def center_series(logs: Floats) -> Floats:
    """Subtract its mean from each series of log times [series, repeats]."""
    centered: Floats = logs - logs.mean(axis=1, keepdims=True)
    return centered


def center_ratios(logs: Floats) -> Floats:
    """Subtract its mean from each row of log ratios [candidates, repeats], and then what the rows share.

    A shift of all candidates by a repeat cancels in every ratio of two of them.
    """
    centered = center_series(logs)
    shared_out: Floats = centered - centered.mean(axis=0, keepdims=True)
    return shared_out


def prior_of(spread: Spread) -> Prior:
    """Fit the prior of the variance of a series to its heat.

    For ratios, it is the variance of the ratio of any two candidates. A row of deviations from the mean over
    C candidates has (C - 1) / 2C of that variance, and C rows hold C - 1 independent ones. Rows of several
    batch sizes share their processes, and count as one. Times of all candidates share the machine's drift,
    and count as one series altogether.
    """
    table = np.array(spread.deviations, dtype=np.float64)
    degrees = spread.n_repeats - 1
    variances = (table**2).sum(axis=1) / max(degrees, 1)
    n_independent = 1.0
    if spread.of != "time":
        counts = np.array([spread.batch_sizes.count(size) for size in spread.batch_sizes], dtype=np.float64)
        is_paired = counts > 1
        variances = variances[is_paired] * 2 * counts[is_paired] / (counts[is_paired] - 1)
        n_independent = float(counts.max(initial=1.0)) - 1
    return fit_prior(tuple(map(float, variances)), degrees, n_independent, spread.of)


@lru_cache(maxsize=512)
def fit_prior(variances: tuple[float, ...], degrees: int, n_independent: float, of: Of) -> Prior:
    """Weigh the grid of d0 and v0 by sample variances and the instrument's own prior.

    A sample variance s² with d degrees of freedom has s² / v0 ~ F(d, d0) (Smyth 2004, section 4). Series that
    are not independent count as fewer: the likelihood is raised to ``n_independent / len(variances)``.

    Args:
        variances: Sample variances on the log scale; without any, the prior is the instrument's own.
        degrees: Degrees of freedom of each variance.
        n_independent: Number of independent series that they count as.
        of: Kind of statistic, for the instrument's own prior.
    """
    d0, v0, log_weights = _grid(of)
    if variances and degrees > 0:
        share = n_independent / len(variances)
        log_weights = log_weights + share * _log_density(np.array(variances), degrees, d0, v0).sum(axis=0)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    order = np.argsort(weights)
    kept = np.sort(order[np.cumsum(weights[order]) > _NEGLIGIBLE])
    return Prior(d0[kept], v0[kept], weights[kept] / weights[kept].sum())


@cache
def _grid(of: Of) -> tuple[Floats, Floats, Floats]:
    """Return d0 and v0 of each point of the grid, and its log weight under the instrument's own prior."""
    d0, spreads = (part.ravel() for part in np.meshgrid(DEGREES, _SPREADS, indexing="ij"))
    log_weights = -0.5 * (np.log(spreads / TYPICAL_SPREAD[of]) / SPREAD_LOG_SD) ** 2 - 0.5 * np.log(d0)
    return d0, spreads**2, log_weights


def own_prior(logs: Floats, of: Of, center: float) -> Prior:
    """Fit the instrument's own prior to one series alone, which has no heat.

    Args:
        logs: Logarithm of the statistic, one per repeat.
        of: Kind of statistic.
        center: Center around which the repeats deviate.
    """
    degrees = max(logs.size - 1, 1)
    return fit_prior((float(((logs - center) ** 2).sum()) / degrees,), degrees, 1.0, of)


def moderate(
    logs: Sequence[float] | Floats, of: Of, prior: Prior | None = None, center: float | None = None
) -> Posterior:
    """Estimate the mean of a series of repeats, with the variance between them shrunk towards the prior.

    Args:
        logs: Logarithm of the statistic, one per repeat; two at least.
        of: Kind of statistic, for a series without a heat.
        prior: Prior from the heat; None takes the instrument's own, fitted to this series alone.
        center: Center around which the repeats deviate, as the estimate of the mean; None takes their mean.

    Raises:
        ValueError: There are fewer than two repeats.
    """
    values = np.asarray(logs, dtype=np.float64)
    degrees = values.size - 1
    if degrees < 1:
        raise ValueError("a spread between repeats needs at least two repeats")
    middle = float(values.mean()) if center is None else center
    squares = float(((values - middle) ** 2).sum())
    known = prior or own_prior(values, of, middle)
    total = known.degrees + degrees
    scales = np.sqrt((known.degrees * known.variances + squares) / total / values.size)
    return Posterior(middle, total, scales, known.weights)


def joint_factor(ratios: Floats, prior: Prior, confidence: float) -> float:
    """Find the factor by which each half-width grows so that the intervals of all ratios hold together.

    It is the quantile of the largest standardised deviation, by simulation from the posterior (the sup-t band
    of Montiel Olea and Plagborg-Møller, Journal of Applied Econometrics 34, 2019). As in Dunnett's comparison
    of many with one (J. Am. Stat. Assoc. 50, 1955), the shared reference correlates the ratios.

    Args:
        ratios: Deviations of the log ratios [candidates, repeats], without the reference.
        prior: Prior of the variance of a ratio.
        confidence: Confidence with which all intervals hold together.
    """
    n_ratios, n_repeats = ratios.shape
    if n_ratios < 2 or n_repeats < 2:  # noqa: PLR2004 - one interval holds by itself
        return 1.0
    return _joint_factor(
        # Sorted, so that names of candidates change nothing.
        tuple(sorted(map(tuple, ratios.tolist()))),
        tuple(map(tuple, (part.tolist() for part in prior))),
        confidence,
    )


class HeatDraws:
    """Joint draws of the errors of the log ratios of a heat's candidates.

    Each draw takes one component of the prior. Its prior part draws an effect of the processes of every
    candidate and of the reference. Its data part weighs the observed deviations at random. The difference of
    any two candidates then has the moderated t distribution of their own paired deviations.

    Args:
        prior: Prior of the variance of a ratio.
        n_repeats: Repeats of the heat; two at least.
        random: Source of the random numbers that the candidates share.
        count: Number of draws.
    """

    def __init__(self, prior: Prior, n_repeats: int, random: np.random.Generator, count: int) -> None:
        component = random.choice(prior.weights.size, size=count, p=prior.weights)
        d0 = prior.degrees[component]
        total = d0 + n_repeats - 1
        shrink = np.sqrt(random.chisquare(total) * n_repeats)
        # A ratio has the effects of two processes.
        self._by_prior = np.sqrt(d0 * prior.variances[component] / 2) / shrink
        self._by_data = random.standard_normal((count, n_repeats)) / shrink[:, np.newaxis]
        self._reference = random.standard_normal(count)

    def draw(self, deviations: Floats, random: np.random.Generator) -> Floats:
        """Draw the deviation [draws] of one candidate's log ratio.

        Args:
            deviations: Deviation of its log ratio in each repeat from their mean.
            random: Its own source of random numbers, so that no other candidate changes its draws.
        """
        own = random.standard_normal(self._reference.size)
        drawn: Floats = self._by_prior * (own - self._reference) + self._by_data @ deviations
        return drawn


@lru_cache(maxsize=512)
def _joint_factor(
    rows: tuple[tuple[float, ...], ...], parts: tuple[tuple[float, ...], ...], confidence: float
) -> float:
    ratios = np.array(rows)
    prior = Prior(*(np.array(part) for part in parts))
    n_ratios, n_repeats = ratios.shape
    halves = np.array([moderate(row, "ratio", prior).half_width(confidence) for row in ratios])
    random = np.random.default_rng(_JOINT_SEED)
    component = random.choice(prior.weights.size, size=_JOINT_DRAWS, p=prior.weights)
    d0 = prior.degrees[component][:, np.newaxis]
    effects = random.standard_normal((_JOINT_DRAWS, n_ratios + 1))
    by_prior = np.sqrt(d0 * prior.variances[component][:, np.newaxis] / 2) * (effects[:, 1:] - effects[:, :1])
    by_data = random.standard_normal((_JOINT_DRAWS, n_repeats)) @ ratios.T
    # The prior's degrees of freedom err for all ratios alike, those of its own data for each separately.
    chi_squared = random.chisquare(d0) + random.chisquare(n_repeats - 1, size=(_JOINT_DRAWS, n_ratios))
    drawn = np.abs(by_prior + by_data) / np.sqrt(chi_squared * n_repeats)
    return max(float(np.quantile((drawn / halves).max(axis=1), confidence)), 1.0)


def _log_density(variances: Floats, degrees: int, d0: Floats, v0: Floats) -> Floats:
    """Return log densities of sample variances [series, grid], up to a constant of the whole grid."""
    from scipy.special import gammaln

    x = np.maximum(variances, _LEAST_VARIANCE)[:, np.newaxis] / v0
    density: Floats = (
        degrees / 2 * np.log(degrees / d0)
        + (degrees / 2 - 1) * np.log(x)
        - (degrees + d0) / 2 * np.log1p(degrees * x / d0)
        + gammaln((degrees + d0) / 2)
        - gammaln(d0 / 2)
        - np.log(v0)
    )
    return density
