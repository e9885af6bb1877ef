"""Outcomes of documents whose every answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bakeoff.measure.statistics.outcomes import read_outcomes
from bakeoff.measure.statistics.readings import Reading


def count_entities(hits: Sequence[float] | np.ndarray, n_entities: int) -> Reading:
    """Entity counts of documents that hold, and are said to hold, so many entities each.

    Args:
        hits: How many of them are right in each document.
        n_entities: In each document.
    """
    found = np.asarray(hits, dtype=np.float64)
    of = np.full(len(found), float(n_entities))
    counts = {"true_positives": found, "predicted": of, "actual": of}
    return read_outcomes({**counts, "exact": found, "units": of})
