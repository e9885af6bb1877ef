"""Tables of results of bench: a figure for every timed scenario, or the reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bakeoff.core.comparison.reference import compare_to_reference
from bakeoff.core.decision.costs import describe_served, describe_unmet, find_max_rate
from bakeoff.core.estimate import Estimate, estimate_of
from bakeoff.core.records import Measurement
from bakeoff.core.validity.flags import CONTENDED, DISTURBED
from bakeoff.core.validity.noise import clock_of, is_contended
from bakeoff.disk.digest import SHOWN_DIGITS
from bakeoff.measure.scenarios import is_end_to_end
from bakeoff.measure.statistics.intervals import MEDIAN
from bakeoff.measure.statistics.readings import LATENCY, MAX_RATE, NS_PER_MS, PASS, Reading
from bakeoff.report.text.units import (
    ABSENT,
    clean,
    format_latency,
    format_rate,
    name_limit,
    ratio_interval,
    shorten_ids,
)

_WORD_WITH_ID = re.compile(rf"\S*(?<![0-9a-z])[0-9a-f]{{{SHOWN_DIGITS}}}(?![0-9a-z])\S*")

_CONTENDED = (
    f"{CONTENDED.name}: other work disturbed more than half of the rounds. No absolute figure is shown; "
    "ratio and verdict have low confidence."
)
_END_TO_END = "End to end: a call is from a row to its prediction, tokenisation included."
_CONTENDED_SERVER = (
    f"{CONTENDED.name}: other work disturbed more than half of the time in which the server worked. "
    "No rate is shown."
)
_CPU_TIME = "CPU time: the ratio compares the time that the one thread computed, without waits for a CPU."
_RESPONSES = (
    "Response time counts from the scheduled arrival, at the rate that each process found; it includes "
    "waiting."
)


def tables_of_measured(measured: Sequence[Measurement]) -> list[RenderableType]:
    """Make a table for each timed scenario that was measured, with its notes below."""
    shown: list[RenderableType] = []
    for table, notes in (
        _table_of_calls(measured, LATENCY, "p50 ms"),
        _table_of_calls(measured, PASS, "documents/s"),
        _table_of_servers(measured),
    ):
        if table.row_count:
            shown += [Text(), table, *(Text(clean(note)) for note in notes)]
    return shown


def make_table(*columns: str, ids: Collection[str] = ()) -> Table:
    """Make an empty table in the style of all stages.

    Args:
        columns: Headings.
        ids: Headings of the columns that hold one shortened id in each cell.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", width=SHOWN_DIGITS if column in ids else None)
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row of text from anywhere, with ids short enough for a column that does not break them."""
    shown = [shorten_ids(clean(cell)) for cell in cells]
    for column, cell in zip(table.columns, shown, strict=True):
        longest = max((len(word) for word in _WORD_WITH_ID.findall(cell)), default=0)
        if longest > (column.min_width or 0):
            column.min_width = longest
    table.add_row(*map(Text, shown))


def _table_of_calls(measured: Sequence[Measurement], quantity: str, figure: str) -> tuple[Table, list[str]]:
    """Make one row a batch size: the figure with its interval, and how it compares with the reference."""
    name = "latency" if quantity == LATENCY else "throughput"
    table = make_table(name, "batch", figure, "time ÷ reference", "verdict")
    are_contended = by_cpu = is_whole = False
    for measurement, reading in _find(measured, quantity):
        size = reading.at["batch_size"]
        comparison = compare_to_reference(measurement, size)
        ratio = (
            f"{comparison.ratio.value:.3f} {ratio_interval(comparison.ratio)}"
            if comparison and comparison.ratio
            else ABSENT
        )
        if ratio != ABSENT and clock_of(measurement) == "CPU time":
            ratio, by_cpu = f"{ratio} CPU time", True
        are_contended |= is_contended(measurement)
        is_whole |= is_end_to_end(measurement.job.scenario)
        add_row(
            table,
            measurement.job.candidate,
            str(size),
            CONTENDED.name if is_contended(measurement) else _write_figure(reading),
            ratio,
            (comparison.verdict if comparison else None) or ABSENT,
        )
    told = {_END_TO_END: is_whole, _CONTENDED: are_contended, _CPU_TIME: by_cpu}
    return table, [note for note, holds in told.items() if holds]


def _write_figure(reading: Reading) -> str:
    if reading.quantity == PASS:
        rate = reading.throughput()
        return format_rate(estimate_of(rate)) if rate else ABSENT
    interval = reading.quantile(MEDIAN)
    return format_latency(estimate_of(interval, NS_PER_MS)) if interval else ABSENT


def _table_of_servers(measured: Sequence[Measurement]) -> tuple[Table, list[str]]:
    """Make one row a measurement: the limit, the highest rate that met it, and the responses at that rate."""
    table = make_table("server", "limit", "requests/s", "response p50 ms", "response p99 ms")
    more = []
    are_contended = False
    for measurement, reading in _find(measured, MAX_RATE):
        rate, served = find_max_rate(measurement.readings), describe_served(measurement)
        if rate is None:
            more.append(f"{measurement.job.candidate}: {describe_unmet(reading)}.")
        elif measurement.has_flag(DISTURBED.name):
            more.append(
                f"{measurement.job.candidate}: {DISTURBED.name} by other work, so the rate is too low."
            )
        are_contended |= is_contended(measurement)
        figures = (
            format_rate(rate) if rate else ABSENT,
            _write(served.response_p50_ms if served else None),
            _write(served.response_p99_ms if served else None),
        )
        add_row(
            table,
            measurement.job.candidate,
            name_limit(served.quantile, served.limit_ms) if served else ABSENT,
            *([CONTENDED.name] * len(figures) if is_contended(measurement) else figures),
        )
    return table, [_RESPONSES, *([_CONTENDED_SERVER] if are_contended else []), *more]


def _write(estimate: Estimate | None) -> str:
    return format_latency(estimate) if estimate else ABSENT


def _find(measured: Sequence[Measurement], quantity: str) -> Iterator[tuple[Measurement, Reading]]:
    return (
        (measurement, reading)
        for measurement in measured
        for reading in measurement.readings
        if reading.quantity == quantity
    )
