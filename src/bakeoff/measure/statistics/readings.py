"""Readings: raw values of one quantity with unit and place; summaries are computed on demand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from bakeoff.measure.statistics.intervals import (
    MEDIAN,
    Interval,
    quantile_intervals,
    quantile_of_sorted,
    throughput_interval,
    unite,
)
from bakeoff.measure.statistics.moderation import Of, Posterior, Prior, Spread, moderate, prior_of
from bakeoff.measure.statistics.ratios import LogRatios, pair_quantiles, pair_rounds, ratio_interval
from bakeoff.record import Record

Unit = Literal["ns", "bytes", "ratio", "count", "per_s", "uj"]
NS_PER_MS = 1e6
NS_PER_S = 1e9

# Quantities of readings.
LATENCY = "latency"  # service time of one call in a closed loop, never a response time
PASS = "pass"  # noqa: S105 - all documents once, in large batches
REFERENCE = "reference"  # calls of the heat's reference in the same rounds
OUTCOMES = "outcomes"  # of each document, as its task compares prediction and label
FIRST_CALL = "first_call"
BLOCK = "block"
LOAD = "load"
MEMORY = "memory"
TOKENIZE = "tokenize"
CALIBRATION = "calibration"
OVERHEAD = "overhead"
MODEL_SIZE = "model_size"
ENERGY = "energy"
MAX_RATE = "max_rate"  # in an open loop
PROBE = "probed_rate"
RESPONSE = "response"  # from scheduled arrival to answer in an open loop, never a service time

# Whether a round counts for headline figures, or why it is excluded.
COUNTED, DIRTY, LATE, APART = 0, 1, 2, 3
MAX_DIRTY_SHARE = 0.5
WARN_DIRTY_SHARE = 0.1


class Reading(Record):
    """Raw values of one quantity.

    Attributes:
        at: Place of the values, such as ``{"batch_size": 8}``.
        values: One number per sample, in the order of measurement.
        repeats: Number of the fresh process of each value, from 0.
        columns: Further facts of each value, such as ``n_tokens`` or ``cpu_ns``; each as long as ``values``.
        numbers: Further facts that are not whole numbers.
        spreads: Spreads between the repeats of all candidates of its heat; empty for what is measured alone.
    """

    quantity: str
    unit: Unit
    at: Mapping[str, int] = {}
    values: tuple[float, ...]
    repeats: tuple[int, ...]
    columns: Mapping[str, tuple[int, ...]] = {}
    numbers: Mapping[str, tuple[float, ...]] = {}
    spreads: tuple[Spread, ...] = ()

    @model_validator(mode="after")
    def _columns_are_as_long_as_values(self) -> Self:
        columns = (*self.columns.values(), *self.numbers.values())
        lengths = {len(self.repeats), *(len(column) for column in columns)}
        if lengths != {len(self.values)}:
            raise ValueError(
                f"columns have {sorted(lengths)} rows; expected {len(self.values)}, one per value"
            )
        return self

    @property
    def total(self) -> float:
        """Sum of all values, including those that headline figures exclude."""
        return float(np.sum(self.values))

    @property
    def dirty_share(self) -> float:
        """Share of disturbed rounds among those in the steady state, in [0, 1]."""
        if "left_out" not in self.columns or not self.values:
            return 0.0
        rounds = np.asarray(self.columns["round"])
        _, first = np.unique(np.asarray(self.repeats) * (rounds.max() + 1) + rounds, return_index=True)
        return share_of_dirty(np.asarray(self.columns["left_out"])[first].tolist())

    @property
    def counts_all(self) -> bool:
        """Whether disturbed rounds count too: if they are the majority, the rest would be a selection."""
        return self.dirty_share > MAX_DIRTY_SHARE

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Mask of the values that headline figures use."""
        if "left_out" not in self.columns:
            return np.ones(len(self.values), dtype=bool)
        why = np.asarray(self.columns["left_out"])
        counted: NDArray[np.bool_] = (why == COUNTED) | ((why == DIRTY) & self.counts_all)
        return counted

    @property
    def paired(self) -> NDArray[np.bool_]:
        """Mask of the values that ratios use: those of headline figures, and those disturbed on both sides.

        Rounds in which the CPUs were apart are paired like any other. If every round of a process was
        disturbed, all of them count, since a ratio from few processes must not lose a whole one.
        """
        if "left_out" not in self.columns:
            return self.counted
        why, repeats = np.asarray(self.columns["left_out"]), np.asarray(self.repeats)
        chosen: NDArray[np.bool_] = self.counted | (why == APART)
        lost = np.setdiff1d(repeats, repeats[chosen])
        with_lost: NDArray[np.bool_] = chosen | ((why != LATE) & np.isin(repeats, lost))
        return with_lost

    @property
    def is_thinned(self) -> bool:
        """Whether headline figures exclude half of the steady rounds, or all of a process."""
        if "left_out" not in self.columns:
            return False
        steady = np.asarray(self.columns["left_out"]) != LATE
        repeats, counted = np.asarray(self.repeats), self.counted
        is_one_lost = np.setdiff1d(repeats[steady], repeats[counted]).size > 0
        return bool(is_one_lost or 2 * counted.sum() <= steady.sum())

    def prior(self, of: Of, p: float = MEDIAN) -> Prior | None:
        """Return the heat's prior of the variance between processes; None for what is measured alone.

        Args:
            of: Kind of statistic, times or ratios to the reference.
            p: Quantile; the next one above among the spreads is taken.
        """
        known = sorted((each for each in self.spreads if each.of == of), key=lambda each: each.quantile)
        if not known:
            return None
        return prior_of(next((each for each in known if each.quantile >= p), known[-1]))

    @property
    def n_counted(self) -> int:
        """Number of values that headline figures use."""
        return int(self.counted.sum())

    @property
    def is_grouped(self) -> bool:
        """Whether a value is the mean of several calls, which hides the tail."""
        return any(calls > 1 for calls in self.columns.get("calls_per_sample", ()))

    @property
    def has_tail(self) -> bool:
        """Whether it has quantiles beyond the median: single calls have, passes have not."""
        return self.quantity != PASS and not self.is_grouped

    def by_repeat(self) -> list[NDArray[np.float64]]:
        """Return the values that headline figures use, one array per process, in order."""
        return list(self.by_repeat_number().values())

    def by_repeat_number(
        self, column: str | None = None, *, is_paired: bool = False
    ) -> dict[int, NDArray[np.float64]]:
        """Return ``by_repeat`` by the number of each process.

        Args:
            column: Column to take instead of the values.
            is_paired: Whether to take what ratios use instead of what headline figures use.
        """
        source = np.asarray(self.values if column is None else self.columns[column], dtype=np.float64)
        repeats, chosen = np.asarray(self.repeats), self.paired if is_paired else self.counted
        rows = {int(number): source[(repeats == number) & chosen] for number in np.unique(repeats)}
        return {number: row for number, row in rows.items() if row.size}

    def quantile(self, p: float, confidence: float = 0.95) -> Interval | None:
        """Estimate the p-quantile with its interval; None with too few samples."""
        return self.quantiles((p,), confidence)[0]

    def quantiles(self, wanted: Sequence[float], confidence: float = 0.95) -> list[Interval | None]:
        """Estimate several quantiles at once.

        If half of the rounds are excluded, the interval also covers the estimate from all rounds.
        """
        rows, is_grouped = self.by_repeat(), self.is_grouped
        if not rows:
            return [None] * len(wanted)
        found = quantile_intervals(rows, wanted, confidence, [self.prior("time", p) for p in wanted])
        is_thinned = self.is_thinned
        return [
            None
            if interval is None or (is_grouped and p != MEDIAN)
            else _stretch(interval, self.quantile_of_all(p) if is_thinned else None)
            for p, interval in zip(wanted, found, strict=True)
        ]

    def posterior(self, p: float) -> Posterior | None:
        """Return the posterior of the logarithm of the p-quantile; None with fewer than two processes."""
        rows = self.by_repeat()
        if len(rows) < 2:  # noqa: PLR2004 - one process shows no spread
            return None
        center = math.log(quantile_of_sorted(np.sort(np.concatenate(rows)), p))
        logs = list(find_log_times(self, p).values())
        return moderate(logs, "time", self.prior("time", p), center)

    def quantile_of_all(self, p: float) -> float | None:
        """Find the p-quantile with the disturbed rounds; None if none is excluded.

        It includes rounds in which the CPUs were apart, but not those before the steady state.
        """
        if "left_out" not in self.columns:
            return None
        why = np.asarray(self.columns["left_out"])
        steady = why != LATE
        if not (steady & ~self.counted).any():
            return None
        return float(np.quantile(np.asarray(self.values)[steady], p))

    def block_medians(
        self, column: str | None = None, *, is_paired: bool = False
    ) -> dict[tuple[int, int], float]:
        """Take the median of each block by (repeat, round).

        Args:
            column: Column to take instead of the values.
            is_paired: Whether to take the blocks that ratios use instead of those of headline figures.
        """
        source = np.asarray(self.values if column is None else self.columns[column], dtype=np.float64)
        return {
            place: quantile_of_sorted(np.sort(source[rows]), MEDIAN)
            for place, rows in self._blocks(is_paired=is_paired)
        }

    def throughput(self, confidence: float = 0.95) -> Interval | None:
        """Estimate documents per second, over the counted blocks."""
        values = np.asarray(self.values)
        rates: dict[int, list[float]] = {}
        for (repeat, _), rows in self._blocks():
            total_s = float(values[rows].sum()) / NS_PER_S
            rates.setdefault(repeat, []).append(self.columns["n_documents"][0] * rows.size / total_s)
        if not rates:
            return None
        found = throughput_interval(
            [np.array(row) for _, row in sorted(rates.items())], confidence, self.prior("time")
        )
        of_all_ns = self.quantile_of_all(MEDIAN) if self.is_thinned else None
        if of_all_ns is None:
            return found
        counted_ns = float(np.median(values[self.counted]))
        return _stretch(found, found.value * counted_ns / of_all_ns)

    def _blocks(self, *, is_paired: bool = False) -> list[tuple[tuple[int, int], NDArray[np.intp]]]:
        """Return the (repeat, round) of each block, in order, and the positions of its values."""
        rows = np.flatnonzero(self.paired if is_paired else self.counted)
        if not rows.size:
            return []
        repeats, rounds = np.asarray(self.repeats)[rows], np.asarray(self.columns["round"])[rows]
        order = np.lexsort((rounds, repeats))
        places = np.stack((repeats[order], rounds[order]))
        begins = 1 + np.flatnonzero((np.diff(places) != 0).any(axis=0))
        return [
            ((int(repeats[block[0]]), int(rounds[block[0]])), rows[block])
            for block in np.split(order, begins)
        ]


def share_of_dirty(reasons: Iterable[int]) -> float:
    """Return the share of disturbed rounds among those in the steady state, in [0, 1]."""
    steady = [why for why in reasons if why != LATE]
    return steady.count(DIRTY) / len(steady) if steady else 0.0


def read_each(quantity: str, unit: Unit, rows: Sequence[tuple[int, int]]) -> Reading:
    """Make a reading from single values, each after the number of its process."""
    return Reading(
        quantity=quantity,
        unit=unit,
        values=tuple(float(value) for _, value in rows),
        repeats=tuple(number for number, _ in rows),
    )


def ratio_to_reference(
    calls: Reading,
    reference: Reading,
    confidence: float = 0.95,
    *,
    p: float = MEDIAN,
    by_cpu: bool = False,
    factor: float = 1.0,
) -> Interval | None:
    """Estimate the ratio of a candidate's time to the reference's, from the rounds that both ran.

    Args:
        calls: Calls of the candidate.
        reference: Calls of the reference, of the same session and batch size.
        confidence: Confidence of the interval.
        p: Quantile; the median is paired round by round, any other repeat by repeat.
        by_cpu: Whether to compare CPU time, for a contended machine. It is right only if both used one
            thread, since it includes the time of every thread that spins.
        factor: Factor on the spread, as in ``ratio_interval``.

    Returns:
        Ratio, above 1 for a slower candidate; None if the two share no round, or with too few samples.
    """
    found = find_log_ratios(calls, reference, p, by_cpu=by_cpu)
    of: Of = "ratio of CPU time" if by_cpu else "ratio"
    return ratio_interval(found, confidence, calls.prior(of, p), of, factor=factor) if found else None


def find_log_ratios(
    calls: Reading, reference: Reading, p: float = MEDIAN, *, by_cpu: bool = False
) -> LogRatios | None:
    """Take the log ratio of a candidate to the reference in each process that both ran.

    Processes of only one side do not count: if one failed in a later repeat, the earlier repeats are
    compared.

    Args:
        calls: Calls of the candidate.
        reference: Calls of the reference, of the same session and batch size.
        p: Quantile, between 0 and 1.
        by_cpu: Whether to compare CPU time.

    Returns:
        Log ratios; None if the two share no round, or with too few samples.
    """
    column = "cpu_ns" if by_cpu else None
    if p != MEDIAN:
        return _find_tail_ratios(calls, reference, p, column)
    own, other = (each.block_medians(column, is_paired=True) for each in (calls, reference))
    rows: dict[int, list[tuple[float, float]]] = {}
    for place in sorted(own.keys() & other.keys()):
        if own[place] > 0 and other[place] > 0:
            rows.setdefault(place[0], []).append((own[place], other[place]))
    if not rows:
        return None
    pairs = {number: np.array(row) for number, row in rows.items()}
    return pair_rounds({number: (row[:, 0], row[:, 1]) for number, row in pairs.items()})


def find_log_times(calls: Reading, p: float) -> dict[int, float]:
    """Take the logarithm of the p-quantile of each process; empty if the values have no such quantile."""
    if p != MEDIAN and not calls.has_tail:
        return {}
    rows = calls.by_repeat_number()
    return {number: math.log(quantile_of_sorted(np.sort(row), p)) for number, row in rows.items()}


def _find_tail_ratios(calls: Reading, reference: Reading, p: float, column: str | None) -> LogRatios | None:
    if calls.is_grouped or reference.is_grouped:
        return None
    own, other = (each.by_repeat_number(column, is_paired=True) for each in (calls, reference))
    shared = sorted(own.keys() & other.keys())
    # A coarse clock may read no CPU time at all, which gives no ratio.
    if not shared or any((rows[number] <= 0).any() for rows in (own, other) for number in shared):
        return None
    return pair_quantiles({number: (own[number], other[number]) for number in shared}, p)


def _stretch(interval: Interval, value: float | None) -> Interval:
    """Widen the interval by the same interval around another value, if there is one."""
    if value is None:
        return interval
    change = value / interval.value
    return unite(interval, Interval(value, interval.low * change, interval.high * change))


def merge_repeats(parts: Sequence[Sequence[Reading]]) -> tuple[Reading, ...]:
    """Join the readings of several fresh processes into one reading per quantity.

    Args:
        parts: Readings of each process, all with the same quantities in the same order.

    Raises:
        ValueError: The processes did not read the same things.
    """
    merged = []
    for rows in zip(*parts, strict=True):
        first = rows[0]
        if any((row.quantity, row.unit, row.at) != (first.quantity, first.unit, first.at) for row in rows):
            raise ValueError(f"{first.quantity} at {dict(first.at)} was not read by every process")
        merged.append(
            first.replace(
                values=tuple(value for row in rows for value in row.values),
                repeats=tuple(g for row in rows for g in row.repeats),
                columns={
                    name: tuple(value for row in rows for value in row.columns[name])
                    for name in first.columns
                },
            )
        )
    return tuple(merged)
