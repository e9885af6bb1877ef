"""``benchmark.json`` of a champion: the field's simple shape, plus all the evidence behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bakeoff.core.comparison.reference import compare_to_reference
from bakeoff.core.decision.costs import describe_served, describe_unmet, find_max_rate, measure_costs
from bakeoff.core.estimate import Estimate, estimate_of, summarize_calls
from bakeoff.core.records import Measurement
from bakeoff.core.validity.noise import clock_of
from bakeoff.disk.digest import digest_json
from bakeoff.measure.statistics.readings import LATENCY, MAX_RATE, NS_PER_MS, NS_PER_S, PASS, Reading

# Name in the simple shape.
MEDIAN_NAME = {"p50": "median"}
# Costs that depend on the price of a decision are not part of a benchmark.
PRICED = {"price_per_hour", "cost_per_million", "cost_per_million_served"}


def describe_champion(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Build the whole document.

    Args:
        measurements: All measurements of one champion. The first timed one names the reference runtime, whose
            figures also appear at the top level, in the field's simple shape.
    """
    job = measurements[0].job
    by_runtime: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        by_runtime.setdefault(measurement.job.runtime.label, []).append(measurement)
    runtimes = {label: _describe_runtime(mine) for label, mine in by_runtime.items()}
    reference = next((shape for shape in runtimes.values() if "device" in shape), {})
    return {
        "format_version": 1,
        "backbone": job.backbone,
        "champion_run_id": job.champion_run_id,
        **({"source": job.source} if job.source is not None else {}),
        "checkpoint_digest": job.checkpoint_digest,
        **reference,
        "runtimes": runtimes,
    }


def _describe_runtime(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Describe the first measurement of each scenario kind in the simple shape, the others in ``more``."""
    shape: dict[str, Any] = {}
    more: list[dict[str, Any]] = []
    for measurement in measurements:
        if measurement.job.scenario.kind in shape:
            more.append(_describe_measurement(measurement))
        else:
            shape |= _describe_measurement(measurement)
    if more:
        shape["more"] = more
    costs = measure_costs(measurements).model_dump(mode="json", exclude=PRICED)
    costs["absent"] = {name: why for name, why in costs["absent"].items() if name not in PRICED}
    return {**shape, "costs": costs}


def _describe_measurement(measurement: Measurement) -> dict[str, Any]:
    job = measurement.job
    entry: dict[str, Any] = {
        "benchmark_key": job.key,
        "scenario": job.scenario.model_dump(mode="json"),
        "validity": measurement.validity,
        "flags": {flag.label: flag.detail for flag in measurement.flags},
        "measured_at": measurement.measured_at,
        "environment_digest": digest_json(measurement.environment.model_dump(mode="json")),
    }
    shape: dict[str, Any] = {}
    for reading in measurement.readings:
        if reading.quantity == LATENCY:
            shape[f"batch_{reading.at['batch_size']}"] = _describe_latency(measurement, reading)
        elif reading.quantity == PASS:
            entry |= _describe_throughput(measurement, reading)
        elif reading.quantity == MAX_RATE:
            entry |= _describe_server(measurement, reading)
    if shape:
        shape |= {"device": job.runtime.device, "timestamp": measurement.measured_at}
    return {**shape, job.scenario.kind: entry}


def _describe_latency(measurement: Measurement, reading: Reading) -> dict[str, Any]:
    size = reading.at["batch_size"]
    mean_ns = float(np.mean(np.concatenate(reading.by_repeat())))
    batch: dict[str, Any] = {
        "mean_ms": mean_ns / NS_PER_MS,
        "throughput_docs_per_sec": size * NS_PER_S / mean_ns,
        "n": reading.n_counted,
        "n_repeats": len(reading.by_repeat()),
    }
    for quantile, found in summarize_calls(reading).items():
        name = MEDIAN_NAME.get(quantile, quantile)
        batch[f"{name}_ms"] = found.value if found else None
        batch[f"{name}_interval_ms"] = _ends(found)
    return batch | _describe_ratio(measurement, size)


def _describe_throughput(measurement: Measurement, reading: Reading) -> dict[str, Any]:
    size = reading.at["batch_size"]
    rate = reading.throughput()
    found = estimate_of(rate) if rate else None
    return {
        "batch_size": size,
        "documents_per_s": found.value if found else None,
        "documents_per_s_interval": _ends(found),
        **_describe_ratio(measurement, size),
    }


def _describe_server(measurement: Measurement, reading: Reading) -> dict[str, Any]:
    found, served = find_max_rate(measurement.readings), describe_served(measurement)
    entry: dict[str, Any] = {}
    if served is not None:
        entry = {"limit_ms": served.limit_ms, "quantile": served.quantile, "batch_max": served.batch_max}
        for name in ("response_p50_ms", "response_p99_ms"):
            response: Estimate | None = getattr(served, name)
            entry[name] = response.value if response else None
            entry[f"{name.removesuffix('_ms')}_interval_ms"] = _ends(response)
    return {
        **entry,
        "max_rate_per_s": found.value if found else None,
        "max_rate_per_s_interval": _ends(found),
        "max_rate_absent": None if found else describe_unmet(reading),
    }


def _describe_ratio(measurement: Measurement, size: int) -> dict[str, Any]:
    """Describe the time over that of the heat's reference; above 1 is slower."""
    comparison = compare_to_reference(measurement, size)
    ratio = comparison.ratio if comparison else None
    return {
        "reference": comparison.reference if comparison else None,
        "ratio_to_reference": ratio.value if ratio else None,
        "ratio_interval": _ends(ratio),
        "ratio_is_of": clock_of(measurement) if ratio else None,
        "verdict": comparison.verdict if comparison else None,
    }


def _ends(estimate: Estimate | None) -> list[float | None] | None:
    return [estimate.low, estimate.high] if estimate else None
