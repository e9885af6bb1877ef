"""Tables of what bench measured: a figure for every timed scenario, and beside it what cannot be told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bakeoff.core.comparison.reference import compare_to_reference
from bakeoff.core.decision.costs import describe_served, describe_unmet, find_max_rate
from bakeoff.core.estimate import Estimate, estimate_of
from bakeoff.core.records import Measurement
from bakeoff.core.validity.flags import CONTENDED, DISTURBED
from bakeoff.core.validity.noise import clock_of, is_contended
from bakeoff.measure.statistics.intervals import MEDIAN
from bakeoff.measure.statistics.readings import LATENCY, MAX_RATE, NS_PER_MS, PASS, Reading
from bakeoff.report.text.units import ABSENT, clean, format_latency, format_rate, name_limit, ratio_interval

_CONTENDED = (
    f"{CONTENDED.name}: other work disturbed more than half of the rounds, so that no absolute figure is "
    "told; ratio and verdict have low confidence."
)
_CONTENDED_SERVER = (
    f"{CONTENDED.name}: other work disturbed more than half of the time in which the server worked, so that "
    "no rate is told."
)
_CPU_TIME = "CPU time: the ratio is of the time that the one thread computed, without its waits for a CPU."
_RESPONSES = (
    "Response time counts from the scheduled arrival, at the rate that each process found; it is no latency."
)


def tables_of_measured(measured: Sequence[Measurement]) -> list[RenderableType]:
    """A table for each timed scenario that was measured, each with the sentences that it needs below it."""
    shown: list[RenderableType] = []
    for table, notes in (
        _table_of_calls(measured, LATENCY, "p50 ms"),
        _table_of_calls(measured, PASS, "documents/s"),
        _table_of_servers(measured),
    ):
        if table.row_count:
            shown += [Text(), table, *(Text(clean(note)) for note in notes)]
    return shown


def make_table(*columns: str) -> Table:
    """An empty table in the style of all stages."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row of text from anywhere."""
    table.add_row(*(Text(clean(cell)) for cell in cells))


def _table_of_calls(measured: Sequence[Measurement], quantity: str, figure: str) -> tuple[Table, list[str]]:
    """One row a batch size: the figure with its interval, and what the heat's reference says to it."""
    table = make_table(
        "latency" if quantity == LATENCY else "throughput", "batch", figure, "time ÷ reference", "verdict"
    )
    are_contended = by_cpu = False
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
        add_row(
            table,
            measurement.job.candidate,
            str(size),
            CONTENDED.name if is_contended(measurement) else _write_figure(reading),
            ratio,
            (comparison.verdict if comparison else None) or ABSENT,
        )
    return table, [*([_CONTENDED] if are_contended else []), *([_CPU_TIME] if by_cpu else [])]


def _write_figure(reading: Reading) -> str:
    if reading.quantity == PASS:
        rate = reading.throughput()
        return format_rate(estimate_of(rate)) if rate else ABSENT
    interval = reading.quantile(MEDIAN)
    return format_latency(estimate_of(interval, NS_PER_MS)) if interval else ABSENT


def _table_of_servers(measured: Sequence[Measurement]) -> tuple[Table, list[str]]:
    """One row a measurement: the limit, the highest rate that met it, and the responses at that rate."""
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
