"""Latency distributions: the calls of every candidate at each batch size, on one common axis.

A shape is the histogram of all counted calls in bins of equal ratio: nothing is thinned out, and its size
does not grow with the samples. Below it are the median of each fresh process and the quantiles with their
intervals. The intervals are as wide as the processes lie apart, however many calls there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.statistics.readings import APART, DIRTY, LATE, LATENCY, NS_PER_MS
from bakeoff.report.figures.axes import Axis, Tick, Whisker, log_axis
from bakeoff.report.figures.collapse import Folded, fold

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.estimate import Estimate
    from bakeoff.measure.statistics.readings import Reading
    from bakeoff.report.figures.raw_measurements import RawMeasurements

WIDTH, HEIGHT = 360, 46
_MARGIN, _BIN_WIDTH = 8, 3
_BASE, _PEAK = 24, 22  # baseline and greatest height of a shape
# Between p50 and p95 there is no room for another mark; the table has its figure.
UNDRAWN = frozenset({"p90"})
_AXIS_SHARE = 0.995  # share of every candidate's calls before the end of the axis

Samples = NDArray[np.float64]


class Mark(NamedTuple):
    """A quantile on the drawing."""

    name: str
    at: float
    whisker: Whisker


class DistributionRow(NamedTuple):
    """One candidate at one batch size.

    Attributes:
        estimates: Quantiles in ms, by name; None for one with too few samples.
        shape: Path of the histogram; empty without the calls themselves.
        processes: Path of a tick at the median of each process.
        n_calls: Counted calls; None without the calls themselves.
        left_out: Excluded calls, in words.
    """

    standing: Standing
    estimates: Mapping[str, Estimate | None]
    shape: str
    processes: str
    marks: tuple[Mark, ...]
    n_calls: int | None
    n_processes: int
    left_out: str


class Panel(NamedTuple):
    """All candidates at one batch size."""

    batch_size: int
    ticks: tuple[Tick, ...]
    rows: Folded[DistributionRow]
    quantiles: tuple[str, ...]
    has_shapes: bool

    @property
    def drawn(self) -> tuple[str, ...]:
        """Names of the quantiles with a mark."""
        return tuple(name for name in self.quantiles if name not in UNDRAWN)


def draw_panels(decision: Decision, evidence: RawMeasurements) -> tuple[Panel, ...]:
    """Draw one panel for each batch size at which a candidate was timed."""
    sizes = sorted({size for row in decision.standings for size in row.latency_by_batch_ms})
    return tuple(_draw_panel(decision, evidence, size) for size in sizes)


def _draw_panel(decision: Decision, evidence: RawMeasurements, size: int) -> Panel:
    readings = {row.label: evidence.find(row, LATENCY, batch_size=size) for row in decision.standings}
    found = {label: reading for label, reading in readings.items() if reading and reading.n_counted}
    processes = {label: [row / NS_PER_MS for row in reading.by_repeat()] for label, reading in found.items()}
    shown = [row.latency_by_batch_ms.get(size, {}) for row in decision.standings]
    axis = _find_axis([e for row in shown for e in row.values() if e is not None], list(processes.values()))
    rows = [
        _draw(standing, estimates, axis, processes.get(standing.label, []), found.get(standing.label))
        for standing, estimates in zip(decision.standings, shown, strict=True)
    ]
    folded = fold(decision)
    return Panel(
        batch_size=size,
        ticks=axis.ticks() if axis else (),
        rows=Folded(
            tuple(rows[number] for number in folded.shown), tuple(rows[number] for number in folded.folded)
        ),
        quantiles=tuple(sorted({name for row in shown for name in row})),
        has_shapes=bool(found),
    )


def _find_axis(estimates: Sequence[Estimate], candidates: Sequence[Sequence[Samples]]) -> Axis | None:
    """Find an axis with room for all; None if nothing is known."""
    points = [estimate.value for estimate in estimates]
    for rows in candidates:
        points += np.quantile(np.concatenate(rows), [1 - _AXIS_SHARE, _AXIS_SHARE]).tolist()
    points = [point for point in points if point > 0]
    ends = [end for each in estimates for end in (each.low, each.high) if end is not None]
    return log_axis(points, ends, _MARGIN, WIDTH - _MARGIN) if points else None


def _draw(
    standing: Standing,
    estimates: Mapping[str, Estimate | None],
    axis: Axis | None,
    processes: Sequence[Samples],
    reading: Reading | None,
) -> DistributionRow:
    marks = (
        Mark(name, axis.place(estimate.value), axis.stretch(estimate.low, estimate.high))
        for name, estimate in sorted(estimates.items())
        if axis is not None and estimate is not None and name not in UNDRAWN
    )
    calls = axis is not None and bool(processes)
    return DistributionRow(
        standing=standing,
        estimates=estimates,
        shape=_draw_shape(np.concatenate(processes), axis) if axis and calls else "",
        processes=_draw_processes(processes, axis) if axis and calls else "",
        marks=tuple(marks),
        n_calls=reading.n_counted if reading else None,
        n_processes=len(processes),
        left_out=describe_left_out(reading) if reading else "",
    )


def _draw_shape(calls: Samples, axis: Axis) -> str:
    """Draw the outline of the histogram, its highest bin at full height; the axis cuts off the rest."""
    edges = np.linspace(np.log(axis.low), np.log(axis.high), (WIDTH - 2 * _MARGIN) // _BIN_WIDTH + 1)
    # Nothing is drawn at 0 ms on a log axis.
    counts, _ = np.histogram(np.log(calls[calls > 0]), edges)
    if not counts.any():
        return ""
    heights = np.where(counts > 0, np.maximum(np.rint(counts / counts.max() * _PEAK), 1), 0).astype(int)
    first, last = int(np.flatnonzero(counts)[0]), int(np.flatnonzero(counts)[-1])
    steps = [f"M{_MARGIN + first * _BIN_WIDTH} {_BASE}"]
    height = 0
    for number in range(first, last + 1):
        if heights[number] != height:
            steps.append(f"v{height - heights[number]}")
            height = int(heights[number])
        steps.append(f"h{_BIN_WIDTH}")
    return _join_runs([*steps, f"v{height}z"])


def _join_runs(steps: Sequence[str]) -> str:
    """Join consecutive steps to the right."""
    joined: list[str] = []
    run = 0
    for step in steps:
        if step.startswith("h"):
            run += int(step[1:])
            continue
        if run:
            joined.append(f"h{run}")
            run = 0
        joined.append(step)
    return "".join(joined)


def _draw_processes(processes: Sequence[Samples], axis: Axis) -> str:
    places = sorted({axis.place(float(np.median(row))) for row in processes})
    return "".join(f"M{place:g} {_BASE + 2}v5" for place in places)


def describe_left_out(reading: Reading) -> str:
    """Count the excluded calls by reason: ``8 late, 12 disturbed``."""
    why = np.asarray(reading.columns.get("left_out", ()))
    n_disturbed, n_late, n_apart = (int(np.sum(why == reason)) for reason in (DIRTY, LATE, APART))
    words = [f"{n_late:,} late"] if n_late else []
    if n_apart:
        words.append(f"{n_apart:,} with the CPUs apart")
    if n_disturbed:
        words.append(f"{n_disturbed:,} disturbed{' (counted)' if reading.counts_all else ''}")
    return ", ".join(words)
