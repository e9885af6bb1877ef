"""Outcomes of documents whose every answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.core.quality import QualityMetric
from bakeoff.measure.statistics.outcomes import read_outcomes
from bakeoff.measure.statistics.readings import Reading
from bakeoff.measure.tasks import text_regression, token_classification

F1 = QualityMetric.of(token_classification.METRICS["f1"])
Values = Sequence[float] | NDArray[Any]
RMSE = QualityMetric.of(text_regression.METRICS["rmse"])


def count_entities(hits: Values, n_entities: int) -> Reading:
    """Entity counts of documents that hold, and are said to hold, so many entities each.

    Args:
        hits: How many of them are right in each document.
        n_entities: In each document.
    """
    found = np.asarray(hits, dtype=np.float64)
    of = np.full(len(found), float(n_entities))
    counts = {"true_positives": found, "predicted": of, "actual": of}
    return read_outcomes({**counts, "exact": found, "units": of})


def predict_numbers(predictions: Values, targets: Values) -> Reading:
    """Outcomes of a regression."""
    return read_outcomes(
        {"prediction": np.asarray(predictions, np.float64), "target": np.asarray(targets, np.float64)}
    )
