"""Quality: a metric of the task, computed from the outcomes that a measurement keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.statistics.readings import Reading
from bakeoff.measure.tasks.metrics import Metric

# Numbers that are in memory at once for the weights of the resamples: 32 MiB.
_WEIGHTS_AT_ONCE = 1 << 22


def measure_quality(reading: Reading, metric: Metric) -> float:
    """Compute a metric from the outcomes of all documents."""
    return metric.value_of(outcomes_of(reading))


def draw_quality(
    readings: Sequence[Reading], metric: Metric, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Draw a metric [resamples, readings], every resample with the same documents for all readings.

    Args:
        readings: Outcomes of the same documents in the same order.
        metric: Metric to compute in each resample.
        resamples: Number of resamples.
        seed: Seed of the resampling.
    """
    outcomes = [outcomes_of(each) for each in readings]
    n_documents = len(readings[0].values)
    uniform = np.full(n_documents, 1 / n_documents)
    random = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // n_documents)
    parts = []
    for start in range(0, resamples, at_once):
        drawn = random.multinomial(n_documents, uniform, size=min(at_once, resamples - start))
        weights = drawn.astype(np.float64)
        parts.append(np.column_stack([metric.compute(each, weights) for each in outcomes]))
    return np.concatenate(parts)
