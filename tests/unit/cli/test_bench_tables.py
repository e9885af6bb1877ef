"""What bench shows of measurements: a figure for each, or the reason why there is none."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pytest
from rich.console import Console, Group

from bakeoff.cli.bench_tables import tables_of_measured
from bakeoff.cli.tables import name_flags
from bakeoff.core.records import Flag, Measurement
from unit.report.measured import measure_field, measure_rates

WIDTH = 100
REFERENCE, OTHER = "minilm-l6 × torch-fp32", "minilm-l6 × onnxruntime-fp32"
NUMBER = r"[\d,.]+ \[[\d,.]+, ([\d,.]+\]|∞\))"


def show(measured: Sequence[Measurement]) -> list[str]:
    console = Console(file=io.StringIO(), width=WIDTH, highlight=False, no_color=True)
    console.print(Group(*tables_of_measured(measured)))
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert all(len(line) <= WIDTH for line in lines)
    return lines


def rows_below(lines: Sequence[str], head: str) -> list[str]:
    """The rows of the table with this heading, with single spaces."""
    flat = [" ".join(line.split()) for line in lines]
    begin = flat.index(head)
    end = next((n for n in range(begin, len(flat)) if not flat[n]), len(flat))
    return flat[begin + 1 : end]


def mark(measurement: Measurement, name: str) -> Measurement:
    return measurement.model_copy(update={"flags": (Flag(name=name, detail=""),)})


@pytest.fixture
def latencies() -> list[Measurement]:
    """Of the reference and one more."""
    return [each for each in measure_field() if each.job.scenario.kind == "latency"][:2]


def test_throughput_is_told_with_its_interval_and_beside_the_reference(latencies: list[Measurement]) -> None:
    throughput, _ = measure_rates(latencies[0])
    rows = rows_below(show([throughput]), "throughput batch documents/s time ÷ reference verdict")
    (row,) = rows
    assert re.fullmatch(rf"{REFERENCE} 32 {NUMBER} – reference", row)
    rate = throughput.reading("pass", batch_size=32)
    assert rate is not None
    interval = rate.throughput()
    assert interval is not None
    assert f" {interval.value:.0f} [" in row


def test_a_server_is_told_with_its_limit_its_rate_and_the_responses_at_it(
    latencies: list[Measurement],
) -> None:
    _, server = measure_rates(latencies[1])
    rows = rows_below(show([server]), "server limit requests/s response p50 ms response p99 ms")
    assert re.fullmatch(rf"{OTHER} p99 ≤ 50 ms {NUMBER} {NUMBER} {NUMBER}", rows[0])
    assert "from the scheduled arrival" in " ".join(rows[1:])


def test_a_server_that_met_its_limit_at_no_rate_says_so_in_place_of_figures(
    latencies: list[Measurement],
) -> None:
    _, server = measure_rates(latencies[1], unmet=2)
    rows = rows_below(show([server]), "server limit requests/s response p50 ms response p99 ms")
    assert rows[0] == f"{OTHER} p99 ≤ 50 ms – – –"
    assert rows[-1] == f"{OTHER}: no rate that was tried met the limit in 2 of 5 processes."


def test_a_server_that_was_disturbed_is_told_to_be_too_low(latencies: list[Measurement]) -> None:
    _, server = measure_rates(latencies[1])
    assert f"{OTHER}: disturbed by other work, so the rate is too low." in show([mark(server, "disturbed")])
    assert "too low" not in " ".join(show([server]))


def test_a_server_on_a_machine_that_was_busy_most_of_the_time_has_no_figure(
    latencies: list[Measurement],
) -> None:
    _, server = measure_rates(latencies[1])
    lines = show([mark(server, "contended")])
    row, *notes = rows_below(lines, "server limit requests/s response p50 ms response p99 ms")
    assert row.endswith("contended contended contended")
    assert "contended: other work disturbed more than half of the time" in " ".join(notes)


def test_a_quiet_measurement_is_compared_by_the_wall_clock_and_carries_no_mark(
    latencies: list[Measurement],
) -> None:
    rows = rows_below(show(latencies), "latency batch p50 ms time ÷ reference verdict")
    assert len(rows) == 4
    assert re.fullmatch(rf"{OTHER} 1 {NUMBER} {NUMBER} faster", rows[2])
    assert "contended" not in " ".join(show(latencies))
    assert "CPU time" not in " ".join(show(latencies))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_contended_measurement_has_no_absolute_figure_and_says_of_which_time_its_ratio_is(
    threads: int,
) -> None:
    field = [each for each in measure_field(threads=threads) if each.job.scenario.kind == "latency"]
    throughput, _ = measure_rates(field[0])
    lines = show([mark(each, "contended") for each in (*field[:2], throughput)])
    rows = rows_below(lines, "latency batch p50 ms time ÷ reference verdict")
    clock = " CPU time" if threads == 1 else ""
    assert rows[0] == f"{REFERENCE} 1 contended – reference"
    assert re.fullmatch(rf"{OTHER} 1 contended {NUMBER}{clock} faster", rows[2])
    notes = " ".join(rows[4:])
    assert "contended: other work disturbed more than half of the rounds" in notes
    assert "low confidence" in notes
    assert ("CPU time: the ratio compares" in notes) == (threads == 1)
    passes = rows_below(lines, "throughput batch documents/s time ÷ reference verdict")
    assert passes[0] == f"{REFERENCE} 32 contended – reference"


def test_what_has_no_figure_has_no_table() -> None:
    assert show([each for each in measure_field() if each.job.scenario.kind == "quality"]) == []


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], ""),
        (["a", "b", "c"], "a, b, c"),
        (["a", "b", "b", "c", "d"], "a, b, c and 1 other"),
        (["a", "b", "c", "d", "e!"], "e!, a, b and 2 others"),
    ],
)
def test_a_row_of_bench_names_three_flags_and_counts_the_others(
    latencies: list[Measurement], names: list[str], shown: str
) -> None:
    flags = tuple(Flag(name=name, detail="", invalidates=name.endswith("!")) for name in names)
    assert name_flags(latencies[0].model_copy(update={"flags": flags})) == shown
