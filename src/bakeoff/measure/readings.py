"""Readings: raw values of one quantity, with unit and place; summaries are computed on demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from bakeoff.measure.statistics import (
    Interval,
    paired_ratio_interval,
    quantile_intervals,
    quantile_ratio_interval,
    throughput_interval,
)
from bakeoff.record import Record

Unit = Literal["ns", "bytes", "ratio", "count", "per_s", "uj"]
NS_PER_MS = 1e6
NS_PER_S = 1e9
MEDIAN = 0.5

# The quantities that are read.
LATENCY = "latency"  # service time of one call; closed loop, so never a response time
PASS = "pass"  # noqa: S105 - of all documents in large batches
REFERENCE = "reference"  # the same of the heat's reference, in the same rounds
ENTITIES = "entities"  # of each document: found and right
FIRST_CALL = "first_call"
BLOCK = "block"
LOAD = "load"
MEMORY = "memory"
TOKENIZE = "tokenize"
CANARY = "canary"
OVERHEAD = "overhead"
MODEL_SIZE = "model_size"
ENERGY = "energy"
MAX_RATE = "max_rate"  # of an open loop
PROBE = "probed_rate"
RESPONSE = "response"  # from scheduled arrival to answer; open loop, never a service time

# Why a round is left out of headline figures.
COUNTED, DIRTY, LATE, APART = 0, 1, 2, 3
MAX_DIRTY_SHARE = 0.5
WARN_DIRTY_SHARE = 0.1


class Reading(Record):
    """Raw values of one quantity.

    Attributes:
        quantity: What was read.
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
        """Sum of all values, those that are left out of headline figures too."""
        return float(np.sum(self.values))

    @property
    def dirty_share(self) -> float:
        """Share of the rounds in the steady state that were disturbed, in [0, 1]."""
        if "left_out" not in self.columns or not self.values:
            return 0.0
        rounds = {
            (generation, number): why
            for generation, number, why in zip(
                self.generations, self.columns["round"], self.columns["left_out"], strict=True
            )
        }
        return share_of_dirty(rounds.values())

    @property
    def counts_all(self) -> bool:
        """Whether disturbed rounds count too: where they are the most, the rest would be a selection."""
        return self.dirty_share > MAX_DIRTY_SHARE

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which values headline figures use."""
        if "left_out" not in self.columns:
            return np.ones(len(self.values), dtype=bool)
        why = np.asarray(self.columns["left_out"])
        counted: NDArray[np.bool_] = (why == COUNTED) | ((why == DIRTY) & self.counts_all)
        return counted

    @property
    def n_counted(self) -> int:
        """How many values headline figures use."""
        return int(self.counted.sum())

    @property
    def is_grouped(self) -> bool:
        """Whether a value is the mean of several calls, so that there is no tail to be seen."""
        return any(calls > 1 for calls in self.columns.get("calls_per_sample", ()))

    @property
    def has_tail(self) -> bool:
        """Whether quantiles beyond the median are asked of it: of single calls, and not of passes."""
        return self.quantity != PASS and not self.is_grouped

    def by_generation(self) -> list[NDArray[np.float64]]:
        """The values of each fresh process that headline figures use, in the order of the processes."""
        return list(self.by_generation_number().values())

    def by_generation_number(self, column: str | None = None) -> dict[int, NDArray[np.float64]]:
        """As ``by_generation`` with the number of each process, of the values or of a column beside them."""
        source = np.asarray(self.values if column is None else self.columns[column], dtype=np.float64)
        generations, counted = np.asarray(self.generations), self.counted
        rows = {int(number): source[(generations == number) & counted] for number in np.unique(generations)}
        return {number: row for number, row in rows.items() if row.size}

    def quantile(self, p: float, confidence: float = 0.95) -> Interval | None:
        """The p-quantile with its interval; None where the samples do not carry it."""
        return self.quantiles((p,), confidence)[0]

    def quantiles(self, wanted: Sequence[float], confidence: float = 0.95) -> list[Interval | None]:
        """As ``quantile``, several at once."""
        rows, is_grouped = self.by_generation(), self.is_grouped
        if not rows:
            return [None] * len(wanted)
        found = quantile_intervals(rows, wanted, confidence)
        return [
            None if is_grouped and p != MEDIAN else interval
            for p, interval in zip(wanted, found, strict=True)
        ]

    def quantile_of_all(self, p: float) -> float | None:
        """The p-quantile with the disturbed rounds, for beside the headline; None where none was left out.

        Those in which the CPUs were apart are among them; those before the steady state are not.
        """
        if "left_out" not in self.columns:
            return None
        why = np.asarray(self.columns["left_out"])
        steady = why != LATE
        if not (steady & ~self.counted).any():
            return None
        return float(np.quantile(np.asarray(self.values)[steady], p))

    def block_medians(self, column: str | None = None) -> dict[tuple[int, int], float]:
        """Median of each counted block by (generation, round), of the values or of a column beside them."""
        source = np.asarray(self.values if column is None else self.columns[column], dtype=np.float64)
        generations, rounds = np.asarray(self.generations), np.asarray(self.columns["round"])
        counted = self.counted
        medians = {}
        for place in sorted({(int(g), int(r)) for g, r in zip(generations, rounds, strict=True)}):
            rows = source[(generations == place[0]) & (rounds == place[1]) & counted]
            if rows.size:
                medians[place] = float(np.median(rows))
        return medians

    def throughput(self, confidence: float = 0.95) -> Interval | None:
        """Documents per second, over the counted blocks."""
        values, generations = np.asarray(self.values), np.asarray(self.generations)
        rounds, counted = np.asarray(self.columns["round"]), self.counted
        rates: dict[int, list[float]] = {}
        for generation, number in self.block_medians():
            rows = values[(generations == generation) & (rounds == number) & counted]
            rates.setdefault(generation, []).append(
                self.columns["n_documents"][0] * rows.size * NS_PER_S / float(rows.sum())
            )
        if not rates:
            return None
        return throughput_interval([np.array(row) for _, row in sorted(rates.items())], confidence)


def share_of_dirty(reasons: Iterable[int]) -> float:
    """Share of the rounds in the steady state that were disturbed, by why each is left out, in [0, 1]."""
    steady = [why for why in reasons if why != LATE]
    return steady.count(DIRTY) / len(steady) if steady else 0.0


def read_each(quantity: str, unit: Unit, rows: Sequence[tuple[int, int]]) -> Reading:
    """A reading of single values, each with the number of the process that read it before it."""
    return Reading(
        quantity=quantity,
        unit=unit,
        values=tuple(float(value) for _, value in rows),
        generations=tuple(number for number, _ in rows),
    )


def ratio_to_reference(
    calls: Reading, reference: Reading, confidence: float = 0.95, *, p: float = MEDIAN, by_cpu: bool = False
) -> Interval | None:
    """How many times as long a candidate takes as the reference, from the rounds that both ran.

    Either may lack processes that the other has: of one that failed in a later generation the earlier ones
    are compared.

    Args:
        calls: The candidate's.
        reference: The reference's, of the same session and batch size.
        confidence: Of the interval.
        p: The median is paired round by round; another quantile generation by generation, by its number.
        by_cpu: Compare CPU time: what is left on a contended machine. Right only where both used one thread,
            since the time of every thread that spins is in it.

    Returns:
        None where the two share no round, or the samples do not carry the quantile.
    """
    column = "cpu_ns" if by_cpu else None
    if p != MEDIAN:
        return _quantile_ratio(calls, reference, confidence, p, column)
    own, other = calls.block_medians(column), reference.block_medians(column)
    rows: dict[int, list[tuple[float, float]]] = {}
    for place in sorted(own.keys() & other.keys()):
        if own[place] > 0 and other[place] > 0:
            rows.setdefault(place[0], []).append((own[place], other[place]))
    if not rows:
        return None
    pairs = [np.array(row) for row in rows.values()]
    return paired_ratio_interval([row[:, 0] for row in pairs], [row[:, 1] for row in pairs], confidence)


def _quantile_ratio(
    calls: Reading, reference: Reading, confidence: float, p: float, column: str | None
) -> Interval | None:
    if calls.is_grouped or reference.is_grouped:
        return None
    own, other = calls.by_generation_number(column), reference.by_generation_number(column)
    shared = sorted(own.keys() & other.keys())
    # A coarse clock may read no CPU time at all, of which there is no ratio.
    if not shared or any((rows[number] <= 0).any() for rows in (own, other) for number in shared):
        return None
    return quantile_ratio_interval(
        [own[number] for number in shared], [other[number] for number in shared], p, confidence
    )


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
