"""Tables: decision, measurements and raw samples as flat columns, for other tools to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from bakeoff.core.decision.costs import ServerFigures
from bakeoff.core.decision.decide import Decision
from bakeoff.core.decision.standings import Standing
from bakeoff.core.estimate import SHOWN_QUANTILES, Estimate
from bakeoff.core.records import Measurement
from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.statistics.readings import LATENCY, OUTCOMES, PASS, REFERENCE, RESPONSE, Reading

What = Literal["decision", "measurements", "samples"]
Cell = str | int | float | bool | None
CALLS = (LATENCY, PASS, RESPONSE)


class FlatTable(NamedTuple):
    """Columns by name, all of one length; None if a row has no such value."""

    columns: Mapping[str, Sequence[Cell]]

    @property
    def rows(self) -> Iterable[tuple[Cell, ...]]:
        """Rows of the table."""
        return zip(*self.columns.values(), strict=True)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()), ()))


def tabulate_decision(decision: Decision) -> FlatTable:
    """Return one row per candidate, in the order of the standings; names end with their unit."""
    metric = decision.metric.name if decision.metric is not None else None
    return _tabulate(_row_of_standing(row, n, metric) for n, row in enumerate(decision.standings, start=1))


def tabulate_measurements(measurements: Iterable[Measurement]) -> FlatTable:
    """Return one row per measurement and quantity, including those that do not count as done.

    Quantiles have the unit of the row and intervals of 95 %. They are None if there are too few samples.
    """
    return _tabulate(_row_of_reading(each, reading) for each in measurements for reading in each.readings)


def tabulate_samples(measurements: Iterable[Measurement]) -> FlatTable:
    """Return one row per timed call, including those that headline figures exclude: ``left_out`` says why."""
    columns: dict[str, list[Cell]] = {}
    n_rows = 0
    for measurement in measurements:
        for reading in measurement.readings:
            if reading.quantity in CALLS and reading.values:
                _extend(columns, n_rows, _columns_of_calls(measurement, reading))
                n_rows += len(reading.values)
    return FlatTable(columns)


def _tabulate(rows: Iterable[Mapping[str, Cell]]) -> FlatTable:
    columns: dict[str, list[Cell]] = {}
    for number, row in enumerate(rows):
        _extend(columns, number, {name: [cell] for name, cell in row.items()})
    return FlatTable(columns)


def _extend(columns: dict[str, list[Cell]], n_rows: int, more: Mapping[str, Sequence[Cell]]) -> None:
    """Append rows; a column that is missing on either side is filled with None."""
    count = len(next(iter(more.values())))
    for name in more:
        columns.setdefault(name, [None] * n_rows)
    for name, column in columns.items():
        column.extend(more.get(name, [None] * count))


def _row_of_standing(standing: Standing, number: int, metric: str | None) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "rank": number,
        "candidate": standing.label,
        "backbone": standing.backbone,
        "runtime": standing.runtime,
        "place": standing.place,
        "reason": standing.reason,
        "metric": metric,
        **_ends("quality", standing.quality),
        **_ends("latency_ms", standing.latency_ms),
        **_ends("score", standing.score),
        "p_best": standing.p_best,
        "within": standing.within,
        "p_within": standing.p_within,
        "is_on_front": standing.is_on_front,
        "is_contended": standing.is_contended,
        "clock": standing.clock,
    }
    for size, quantiles in standing.latency_by_batch_ms.items():
        for name, estimate in quantiles.items():
            row |= _ends(f"latency_ms.{name}.batch_{size}", estimate)
    if standing.costs is not None:
        for name in type(standing.costs).model_fields:
            value = getattr(standing.costs, name)
            if isinstance(value, ServerFigures):
                row |= _flatten(name, value)
            elif isinstance(value, Estimate):
                row |= _ends(name, value)
            elif isinstance(value, Mapping):
                row |= {f"{name}.batch_{size}": each for size, each in value.items() if name != "absent"}
            else:
                row[name] = value
    return row | {
        "flags": "; ".join(f"{flag.label}: {flag.detail}" for flag in standing.flags),
        "champion_run_id": standing.champion_run_id,
        "checkpoint_digest": standing.checkpoint_digest,
        "benchmark_keys": " ".join(standing.benchmark_keys),
    }


def _row_of_reading(measurement: Measurement, reading: Reading) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        **_identify(measurement),
        "validity": measurement.validity,
        "measured_at": measurement.measured_at,
        "heat_id": measurement.heat.heat_id if measurement.heat else None,
        "environment_digest": measurement.environment.digest,
        "hardware": measurement.job.hardware.label,
        "quantity": reading.quantity,
        "batch_size": reading.at.get("batch_size"),
        "unit": reading.unit,
        "n": len(reading.values),
        "n_counted": reading.n_counted,
        "n_processes": len(set(reading.repeats)),
    }
    if reading.quantity == OUTCOMES:
        outcomes = outcomes_of(reading)
        return row | {name: each.value_of(outcomes) for name, each in measurement.job.task.metrics.items()}
    row["mean"] = float(np.mean(reading.values)) if reading.values else None
    for name, p in SHOWN_QUANTILES.items():
        interval = reading.quantile(p) if reading.quantity in (*CALLS, REFERENCE) else None
        row |= {
            name: interval.value if interval else None,
            f"{name}_low": interval.low if interval else None,
            f"{name}_high": interval.high if interval and np.isfinite(interval.high) else None,
        }
    return row


def _columns_of_calls(measurement: Measurement, reading: Reading) -> dict[str, Sequence[Cell]]:
    count = len(reading.values)
    facts = {
        **_identify(measurement),
        "quantity": reading.quantity,
        "batch_size": reading.at.get("batch_size"),
    }
    return {
        **{name: [cell] * count for name, cell in facts.items()},
        "repeat": reading.repeats,
        # A response time holds the wait in the queue, so it never has the name of a service time.
        "response_ns" if reading.quantity == RESPONSE else "wall_ns": reading.values,
        **reading.columns,
    }


def _identify(measurement: Measurement) -> dict[str, Cell]:
    job = measurement.job
    return {
        "job": job.label,
        "candidate": job.candidate,
        "backbone": job.backbone,
        "runtime": job.runtime.label,
        "scenario": job.scenario.kind,
        "key_digest": job.key_digest,
        "attempt": measurement.attempt,
    }


def _flatten(name: str, served: ServerFigures) -> dict[str, Cell]:
    row: dict[str, Cell] = {}
    for field in type(served).model_fields:
        value = getattr(served, field)
        row |= _ends(f"{name}.{field}", value) if isinstance(value, Estimate) else {f"{name}.{field}": value}
    return row


def _ends(name: str, estimate: Estimate | None) -> dict[str, Cell]:
    return {
        name: estimate.value if estimate else None,
        f"{name}.low": estimate.low if estimate else None,
        f"{name}.high": estimate.high if estimate else None,
    }
