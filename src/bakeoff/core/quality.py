"""Quality: a metric of the task, computed from the outcomes that a measurement keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.statistics.readings import Reading
from bakeoff.measure.tasks.metrics import Direction, Metric, OfSums, Outcomes
from bakeoff.record import Record

Draws = NDArray[np.float64]
# Numbers that are in memory at once, for the weights of the resamples and for their sums: 32 MiB each.
_NUMBERS_AT_ONCE = 1 << 22
_EXACT_IN_FLOAT32 = 1 << 24


class QualityMetric(Record):
    """What a reader of results must know of their metric.

    Attributes:
        name: Name in settings and results.
        label: Name for people.
        direction: ``maximize`` if more is better, ``minimize`` if less is.
        low: Least value that it can take; None without a bound.
        high: Greatest value that it can take; None without a bound.
    """

    name: str
    label: str
    direction: Direction
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, metric: Metric) -> Self:
        """Describe a metric of a task."""
        low, high = (end if math.isfinite(end) else None for end in (metric.low, metric.high))
        return cls(name=metric.name, label=metric.label, direction=metric.direction, low=low, high=high)

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1 and more is better, so that differences are read in points."""
        return (self.low, self.high, self.direction) == (0.0, 1.0, "maximize")

    @property
    def is_bounded(self) -> bool:
        """Whether it lies within [-1, 1], so that three decimals say enough."""
        return self.low is not None and self.high is not None and self.low >= -1 and self.high <= 1

    @property
    def more_is_better(self) -> bool:
        """Whether more of it is better."""
        return self.direction == "maximize"

    def gain(self, value: float) -> float:
        """Return a value of which more is better."""
        return value if self.more_is_better else -value


def measure_quality(reading: Reading, metric: Metric) -> float:
    """Compute a metric from the outcomes of all documents."""
    return metric.value_of(outcomes_of(reading))


def draw_quality(readings: Sequence[Reading], metric: Metric, resamples: int, seed: int) -> Draws:
    """Draw a metric [resamples, readings], every resample with the same documents for all readings.

    Args:
        readings: Outcomes of the same documents in the same order.
        metric: Metric to compute in each resample.
        resamples: Number of resamples.
        seed: Seed of the resampling.
    """
    return draw_metric([outcomes_of(each) for each in readings], metric, resamples, seed)


def draw_metric(outcomes: Sequence[Outcomes], metric: Metric, resamples: int, seed: int) -> Draws:
    """Draw a metric [resamples, candidates] as ``draw_quality`` does, from outcomes."""
    n_documents = len(next(iter(outcomes[0].values())))
    uniform = np.full(n_documents, 1 / n_documents)
    random = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS_AT_ONCE // n_documents)
    parts = []
    for start in range(0, resamples, at_once):
        weights = random.multinomial(n_documents, uniform, size=min(at_once, resamples - start))
        parts.append(_compute_all(outcomes, metric, weights))
    return np.concatenate(parts)


def _compute_all(outcomes: Sequence[Outcomes], metric: Metric, weights: NDArray[np.int64]) -> Draws:
    """Compute a metric [resamples, readings]; sums of many readings are one product of matrices."""
    if not isinstance(metric.compute, OfSums):
        exact = weights.astype(np.float64)
        return np.column_stack([metric.compute(each, exact) for each in outcomes])
    terms = [metric.compute.terms(each) for each in outcomes]
    at_once = max(1, _NUMBERS_AT_ONCE // (len(weights) * max(each.shape[1] for each in terms)))
    drawn = [
        _finish(metric.compute, terms[start : start + at_once], weights)
        for start in range(0, len(terms), at_once)
    ]
    return np.concatenate(drawn, axis=1)


def _finish(compute: OfSums, terms: Sequence[Draws], weights: NDArray[np.int64]) -> Draws:
    """Sum the terms of some readings in each resample, and compute the metric from the sums."""
    joined = np.concatenate(terms, axis=1)
    sums = (weights.astype(_precision(joined)) @ joined.astype(_precision(joined))).astype(np.float64)
    widths = {each.shape[1] for each in terms}
    if len(widths) == 1:
        return compute.finish(sums.reshape(len(weights), len(terms), widths.pop()))
    ends = np.cumsum([each.shape[1] for each in terms])[:-1]
    return np.column_stack([compute.finish(part) for part in np.split(sums, ends, axis=1)])


def _precision(terms: Draws) -> type[np.floating]:
    """Return single precision where it is exact, in half the time: sums of whole numbers below 2^24."""
    largest = float(np.abs(terms).max(initial=1.0)) * len(terms)
    is_exact = largest < _EXACT_IN_FLOAT32 and bool((terms == np.trunc(terms)).all())
    return np.float32 if is_exact else np.float64
