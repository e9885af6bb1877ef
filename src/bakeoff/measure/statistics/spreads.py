"""Spreads between the repeats of all candidates of a heat, statistic by statistic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from bakeoff.measure.statistics.intervals import MEDIAN
from bakeoff.measure.statistics.moderation import Floats, Of, Spread, center_ratios, center_series
from bakeoff.measure.statistics.readings import LATENCY, Reading, find_log_ratios, find_log_times

QUANTILES = (MEDIAN, 0.9, 0.95, 0.99)
# The logarithm of one statistic of a candidate at a batch size, by the number of the repeat.
_Series = dict[int, float]
Kind = tuple[float, Of]


def find_spreads(
    calls: Mapping[str, Mapping[int, Reading]], reference: str, kinds: Sequence[Kind] | None = None
) -> tuple[Spread, ...]:
    """Find the spreads over the repeats that all candidates have.

    Args:
        calls: Timed calls of each candidate by batch size, without candidates that failed.
        reference: Name of the candidate that the others are compared with.
        kinds: Statistics to take; None takes all that are shown.

    Returns:
        A spread for each statistic that two repeats or more have.
    """
    first = next((reading for rows in calls.values() for reading in rows.values()), None)
    if first is None:
        return ()
    references = calls.get(reference, {})
    joined = {
        name: {size: row for size, row in rows.items() if size in references} for name, rows in calls.items()
    }
    found = [
        _spread(p, of, _by_size(calls if of == "time" else joined, _statistic(p, of), references))
        for p, of in (_list_kinds(first.quantity) if kinds is None else kinds)
        if of == "time" or references
    ]
    return tuple(each for each in found if each is not None)


def _list_kinds(quantity: str) -> list[Kind]:
    quantiles = QUANTILES if quantity == LATENCY else (MEDIAN,)
    kinds: list[Kind] = [(p, "time") for p in quantiles]
    return [*kinds, *((p, "ratio") for p in quantiles), (MEDIAN, "ratio of CPU time")]


def _statistic(p: float, of: Of) -> Callable[[Reading, Reading], _Series]:
    if of == "time":
        return lambda mine, _: find_log_times(mine, p)

    def take(mine: Reading, theirs: Reading) -> _Series:
        if mine is theirs:
            return dict.fromkeys(mine.by_repeat_number(is_paired=True), 0.0)
        found = find_log_ratios(mine, theirs, p, by_cpu=of != "ratio")
        return dict(found.by_process) if found else {}

    return take


def _by_size(
    calls: Mapping[str, Mapping[int, Reading]],
    statistic: Callable[[Reading, Reading], _Series],
    references: Mapping[int, Reading],
) -> Iterator[tuple[int, list[_Series]]]:
    """Yield the series of all candidates at each batch size, the reference first."""
    for size in sorted({size for rows in calls.values() for size in rows}):
        rows = [rows[size] for rows in calls.values() if size in rows]
        theirs = references.get(size)
        if theirs is not None:
            rows = [theirs, *(row for row in rows if row is not theirs)]
        yield size, [series for row in rows if (series := statistic(row, theirs or row))]


def _spread(p: float, of: Of, sizes: Iterator[tuple[int, Sequence[_Series]]]) -> Spread | None:
    # A reference alone has no ratio.
    least = 1 if of == "time" else 2
    by_size = [(size, rows) for size, rows in sizes if len(rows) >= least]
    repeats = sorted(set.intersection(*(set(row) for _, rows in by_size for row in rows))) if by_size else []
    if len(repeats) < 2:  # noqa: PLR2004 - one repeat shows no spread
        return None
    tables = [
        (size, np.array([[row[number] for number in repeats] for row in rows])) for size, rows in by_size
    ]
    center: Callable[[Floats], Floats] = center_series if of == "time" else center_ratios
    return Spread(
        quantile=p,
        of=of,
        batch_sizes=tuple(size for size, table in tables for _ in table),
        deviations=tuple(tuple(map(float, row)) for _, table in tables for row in center(table)),
    )
