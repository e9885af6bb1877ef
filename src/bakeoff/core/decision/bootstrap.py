"""Evidence: the measurements of each candidate, as estimates with intervals and as draws.

Quality comes from a paired bootstrap over documents, the same documents for all candidates in each resample
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). Latency comes from the posterior
behind its intervals, with moderated variances. If all candidates share a reference, the draws are of the
ratio to it: interleaved rounds make the ratio free of the machine's drift. Otherwise they are of the absolute
value. Candidates of one heat share their reference, so their draws are joint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.estimate import Estimate, estimate_of
from bakeoff.core.quality import Draws
from bakeoff.core.validity.noise import ComparedTime
from bakeoff.disk.digest import digest_json
from bakeoff.errors import CannotTellError
from bakeoff.measure.statistics.intervals import Interval
from bakeoff.measure.statistics.moderation import HeatDraws, Of, Prior, moderate, own_prior
from bakeoff.measure.statistics.ratios import LogRatios, ratio_interval
from bakeoff.measure.statistics.readings import NS_PER_MS, find_log_ratios

_ROUNDING = 1e-9  # 0.05 is a little less than a twentieth


class RelativeLatency(NamedTuple):
    """Latencies of the candidates on a common scale.

    Attributes:
        values: [candidates], relative to a common reference, or in ms without one.
        draws: [resamples, candidates] on the same scale.
        is_paired: Whether they are relative to a common reference.
        clock: Wall time or CPU time.
    """

    values: Draws
    draws: Draws
    is_paired: bool
    clock: ComparedTime = "wall time"


def draw_relative_latency(
    candidates: Sequence[Candidate], estimates: Sequence[Estimate], settings: DecisionSettings
) -> RelativeLatency:
    """Draw the latency of each candidate.

    Args:
        candidates: Candidates in any order.
        estimates: Absolute latency of each, in ms.
        settings: Batch size, quantile, confidence, resamples, seed.

    Raises:
        CannotTellError: There are too few samples for an interval.
    """
    found = _find_common_ratios(candidates, settings)
    if found is None:
        draws = [
            _draw_time(each, estimate, settings) for each, estimate in zip(candidates, estimates, strict=True)
        ]
        values = np.array([estimate.value for estimate in estimates])
        return RelativeLatency(values, np.column_stack(draws), is_paired=False)
    ratios, clock = found
    return RelativeLatency(
        values=np.array([1.0 if each is None else math.exp(each.found.center) for each in ratios]),
        draws=_draw_ratios(candidates, ratios, settings),
        is_paired=True,
        clock=clock,
    )


def compares_cpu_time(candidates: Sequence[Candidate]) -> bool:
    """Return whether the ratios of these candidates are of CPU time: all of them or none, for one scale.

    They are if the machine was too busy for any of them, and all candidates and references used one thread.
    CPU time does not hold the share of other work, but it holds the spinning of further threads.

    Args:
        candidates: Candidates that have a ratio to a reference.
    """
    return any(each.is_contended for each in candidates) and all(each.uses_one_thread for each in candidates)


class _Ratio(NamedTuple):
    """Ratio of a candidate to its reference, with the values that its draws need.

    Attributes:
        found: Log ratios.
        prior: Prior of the variance of a log ratio between processes.
        interval: Interval with the confidence of the decision.
    """

    found: LogRatios
    prior: Prior
    interval: Interval


def _find_ratio(candidate: Candidate, settings: DecisionSettings, *, by_cpu: bool) -> _Ratio | None:
    calls = candidate.latency.get(settings.batch_size)
    reference = candidate.references.get(settings.batch_size)
    if calls is None or reference is None:
        return None
    found = find_log_ratios(calls, reference, settings.quantile, by_cpu=by_cpu)
    if found is None:
        return None
    of: Of = "ratio of CPU time" if by_cpu else "ratio"
    known = calls.prior(of, settings.quantile)
    interval = ratio_interval(found, settings.confidence, known, of)
    if known is None:
        known = own_prior(np.array(list(found.by_process.values())), of, found.center)
    return _Ratio(found, known, interval)


def _find_common_ratios(
    candidates: Sequence[Candidate], settings: DecisionSettings
) -> tuple[list[_Ratio | None], ComparedTime] | None:
    """Find the ratio of every candidate to their one common reference, and the clock of the ratios.

    The reference itself has None in the list. Without a common reference the result is None: absolute
    latencies are of wall time.
    """
    anchors = {candidate.reference_key for candidate in candidates}
    if len(anchors) != 1 or "" in anchors:
        return None
    by_cpu = compares_cpu_time([each for each in candidates if each.latency_key not in anchors])
    ratios: list[_Ratio | None] = []
    for candidate in candidates:
        if candidate.latency_key in anchors:
            ratios.append(None)
            continue
        ratio = _find_ratio(candidate, settings, by_cpu=by_cpu)
        if ratio is None or not (ratio.interval.low > 0 and math.isfinite(ratio.interval.high)):
            return None
        ratios.append(ratio)
    return ratios, "CPU time" if by_cpu else "wall time"


def _draw_ratios(
    candidates: Sequence[Candidate], ratios: Sequence[_Ratio | None], settings: DecisionSettings
) -> Draws:
    """Draw the ratios [resamples, candidates], jointly for one heat; the reference has 1."""
    heats: dict[tuple[str, tuple[int, ...]], HeatDraws] = {}
    columns = []
    for candidate, ratio in zip(candidates, ratios, strict=True):
        if ratio is None:
            columns.append(np.ones(settings.resamples))
            continue
        repeats = tuple(ratio.found.by_process)
        # A candidate outside a heat shares its reference with no other.
        heat = (candidate.heat_id or candidate.label, repeats)
        if heat not in heats:
            random = _random_of(f"heat {heat[0]} {repeats}", settings)
            heats[heat] = HeatDraws(ratio.prior, len(repeats), random, settings.resamples)
        logs = np.array(list(ratio.found.by_process.values()))
        drawn = heats[heat].draw(logs - ratio.found.center, _random_of(candidate.label, settings))
        half = moderate(logs, "ratio", ratio.prior, ratio.found.center).half_width(settings.confidence)
        columns.append(math.exp(ratio.found.center) * np.exp(drawn * _widening(ratio.interval, half)))
    return np.column_stack(columns)


def _draw_time(candidate: Candidate, estimate: Estimate, settings: DecisionSettings) -> Draws:
    """Draw the absolute latency [resamples], in ms."""
    calls = candidate.latency[settings.batch_size]
    interval = Interval(estimate.value, estimate.low, math.inf if estimate.high is None else estimate.high)
    posterior = calls.posterior(settings.quantile)
    if posterior is None:
        return draw_log_normal([candidate.label], [interval], settings)[:, 0]
    half = posterior.half_width(settings.confidence)
    drawn = posterior.draw(_random_of(candidate.label, settings), settings.resamples) - posterior.center
    return estimate.value * np.exp(drawn * _widening(interval, half))


def _widening(interval: Interval, half: float) -> float:
    """Return the factor from posterior to shown interval, so that draws and interval agree."""
    value, low, high = interval
    shown = max(math.log(value / low) if low > 0 else math.inf, math.log(high / value))
    return max(shown / half, 1.0) if math.isfinite(shown) else 1.0


def _random_of(name: str, settings: DecisionSettings, stream: int = 0) -> np.random.Generator:
    """Make a generator for each name, so that no candidate changes the draws of another."""
    seed = [settings.seed, int(digest_json(name)[:16], 16), *([stream] if stream else [])]
    return np.random.default_rng(seed)


def draw_log_normal(
    names: Sequence[str],
    intervals: Sequence[tuple[float, float, float]],
    settings: DecisionSettings,
    stream: int = 0,
) -> Draws:
    """Draw log-normal values [resamples, names], each as wide as the wider side of its interval.

    Args:
        names: Names that seed the draws, so that no candidate changes the draws of another.
        intervals: Value, low, high: positive; ``inf`` if an end is not known.
        settings: Resamples, seed, confidence.
        stream: Number of the quantity; quantities have independent draws.

    Raises:
        CannotTellError: An interval has an open end.
    """
    from scipy.special import ndtri

    normal = np.column_stack(
        [_random_of(name, settings, stream).standard_normal(settings.resamples) for name in names]
    )
    z = float(ndtri(0.5 + settings.confidence / 2))
    spread = [
        max(math.log(value / low) if low > 0 else math.inf, math.log(high / value)) / z
        for value, low, high in intervals
    ]
    if not all(math.isfinite(each) for each in spread):
        raise CannotTellError(
            f"too few samples for an interval of the {settings.quantile:g}-quantile of latency; "
            "raise benchmark.protocol.min_repeats or rounds"
        )
    drawn: Draws = np.array([value for value, _, _ in intervals]) * np.exp(normal * np.array(spread))
    return drawn


def require_latency(candidate: Candidate, batch_size: int, quantile: float, confidence: float) -> Estimate:
    """Find a latency quantile in ms, as ``find_latency`` does, or raise.

    Raises:
        CannotTellError: That batch size was not measured, or has too few samples.
    """
    estimate = find_latency(candidate, batch_size, quantile, confidence)
    if estimate is None:
        measured = ", ".join(map(str, sorted(candidate.latency)))
        raise CannotTellError(
            f"{candidate.label}: no {quantile:g}-quantile of latency at batch size {batch_size} "
            f"(measured: {measured}); measure that batch size, or take more samples"
        )
    return estimate


def find_latency(
    candidate: Candidate, batch_size: int, quantile: float, confidence: float
) -> Estimate | None:
    """Find a latency quantile in ms; None if it was not measured or has too few samples."""
    reading = candidate.latency.get(batch_size)
    interval = reading.quantile(quantile, confidence) if reading else None
    return None if interval is None else estimate_of(interval, NS_PER_MS)


def count_exceptions(settings: DecisionSettings) -> int:
    """Return the number of resamples that may contradict a certain result.

    It is the number outside one end of the interval, so that the shown interval and certainty always agree.
    """
    return math.floor((1 - settings.confidence) / 2 * (settings.resamples - 1) + _ROUNDING)


def estimate_known(values: Draws, draws: Draws, settings: DecisionSettings) -> list[Estimate | None]:
    """Return what ``estimate_all`` does, and None for a candidate whose value is not a number."""
    known = [n for n, value in enumerate(values) if math.isfinite(value)]
    found = dict(zip(known, estimate_all(values[known], draws[:, known], settings), strict=True))
    return [found.get(n) for n in range(len(values))]


def estimate_all(values: Draws, draws: Draws, settings: DecisionSettings) -> list[Estimate]:
    """Return values [candidates] with the percentile intervals of their draws [resamples, candidates]."""
    left, right = count_exceptions(settings), draws.shape[0] - 1 - count_exceptions(settings)
    ordered = np.partition(np.ascontiguousarray(draws.T), (left, right), axis=1)
    return [
        Estimate(value=float(value), low=float(row[left]), high=float(row[right]))
        for value, row in zip(values, ordered, strict=True)
    ]
