"""Outcomes of documents as a reading: whole numbers in columns, others as numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.statistics.readings import OUTCOMES, Reading


def read_outcomes(outcomes: Mapping[str, NDArray[np.float64]]) -> Reading:
    """Make the reading that keeps the outcomes of all documents.

    Args:
        outcomes: Arrays [documents] by name.
    """
    n_documents = len(next(iter(outcomes.values())))
    whole = {name for name, values in outcomes.items() if (values == np.trunc(values)).all()}
    return Reading(
        quantity=OUTCOMES,
        unit="count",
        values=tuple(float(number) for number in range(n_documents)),
        repeats=(0,) * n_documents,
        columns={name: tuple(map(int, outcomes[name])) for name in outcomes if name in whole},
        numbers={name: tuple(map(float, outcomes[name])) for name in outcomes if name not in whole},
    )


def outcomes_of(reading: Reading) -> dict[str, NDArray[np.float64]]:
    """Return the outcomes that a reading keeps: arrays [documents] by name."""
    kept: dict[str, tuple[float, ...]] = {**reading.columns, **reading.numbers}
    return {name: np.array(values, dtype=np.float64) for name, values in kept.items()}
