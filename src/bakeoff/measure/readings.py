"""Readings: raw values of one quantity, with unit and place; summaries are computed on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from bakeoff.measure.statistics import Interval, quantile_interval
from bakeoff.record import Record

Unit = Literal["ns", "bytes", "ratio", "count"]
NS_PER_MS = 1e6
NS_PER_S = 1e9


class Reading(Record):
    """Raw values of one quantity.

    Attributes:
        quantity: What was read: ``latency``, ``f1``, ``peak_memory``.
        unit: Of ``values``.
        at: Where it was taken: ``{"batch_size": 8}``.
        values: One number a sample, in the order of taking.
        generations: The fresh process in which each value was taken, counted from 0; one a value.
        columns: Facts beside each value, such as ``n_tokens`` or ``cpu_ns``; each as long as ``values``.
    """

    quantity: str
    unit: Unit
    at: Mapping[str, int] = {}
    values: tuple[float, ...]
    generations: tuple[int, ...]
    columns: Mapping[str, tuple[int, ...]] = {}

    @model_validator(mode="after")
    def _columns_are_as_long_as_values(self) -> Self:
        lengths = {len(self.generations), *(len(column) for column in self.columns.values())}
        if lengths != {len(self.values)}:
            raise ValueError(f"columns of {sorted(lengths)} rows beside {len(self.values)} values")
        return self

    @property
    def total(self) -> float:
        """Sum of all values."""
        return float(np.sum(self.values))

    def by_generation(self) -> list[NDArray[np.float64]]:
        """The values of each fresh process, in the order of the processes."""
        values = np.asarray(self.values)
        generations = np.asarray(self.generations)
        return [values[generations == generation] for generation in np.unique(generations)]

    def quantile(self, p: float, confidence: float = 0.95) -> Interval | None:
        """The p-quantile over all values with its interval; None where the samples do not carry it."""
        return quantile_interval(self.by_generation(), p, confidence)


def merge_generations(parts: Sequence[Sequence[Reading]]) -> tuple[Reading, ...]:
    """Join what several fresh processes read of the same quantities into one reading each.

    Args:
        parts: The readings of each process, every process with the same quantities in the same order.

    Raises:
        ValueError: The processes did not read the same things.
    """
    merged = []
    for rows in zip(*parts, strict=True):
        first = rows[0]
        if any((row.quantity, row.unit, row.at) != (first.quantity, first.unit, first.at) for row in rows):
            raise ValueError(f"{first.quantity} at {dict(first.at)} was not read by every process")
        merged.append(
            first.model_copy(
                update={
                    "values": tuple(value for row in rows for value in row.values),
                    "generations": tuple(g for row in rows for g in row.generations),
                    "columns": {
                        name: tuple(value for row in rows for value in row.columns[name])
                        for name in first.columns
                    },
                }
            )
        )
    return tuple(merged)
