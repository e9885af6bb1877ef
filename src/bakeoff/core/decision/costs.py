"""Costs: memory, disk, start-up, energy of a candidate, and money if it has a price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.estimate import Estimate, estimate_of
from bakeoff.core.records import Measurement
from bakeoff.core.validity.flags import DISTURBED
from bakeoff.core.validity.noise import is_contended
from bakeoff.measure.scenarios import Latency, Server
from bakeoff.measure.statistics.intervals import MEDIAN, rate_interval
from bakeoff.measure.statistics.readings import (
    ENERGY,
    FIRST_CALL,
    LATENCY,
    LOAD,
    MAX_RATE,
    MEMORY,
    MODEL_SIZE,
    NS_PER_MS,
    PASS,
    RESPONSE,
    TOKENIZE,
    Reading,
)
from bakeoff.record import Record

P99 = 0.99


class ServerFigures(Record):
    """One server scenario of one candidate, without its highest rate.

    Attributes:
        limit_ms: Limit of the response time in ms.
        quantile: Share of the requests that must meet the limit.
        batch_max: Maximum number of requests per batch.
        response_p50_ms: Median time from scheduled arrival to response, waiting included. It covers all
            processes, each at the highest rate that it found. None if a process met the limit at no rate.
        response_p99_ms: p99 of the same responses.
    """

    limit_ms: float
    quantile: float
    batch_max: int
    response_p50_ms: Estimate | None = None
    response_p99_ms: Estimate | None = None


def describe_served(measurement: Measurement, confidence: float = 0.95) -> ServerFigures | None:
    """Describe a server scenario with its response times; None for every other scenario."""
    scenario = measurement.job.scenario
    if not isinstance(scenario, Server):
        return None
    served = ServerFigures(
        limit_ms=scenario.limit_ms, quantile=scenario.quantile, batch_max=scenario.batch_max
    )
    rates, responses = measurement.reading(MAX_RATE), measurement.reading(RESPONSE)
    # Without the processes that met the limit at no rate, only the lucky ones would count.
    if rates is None or responses is None or not all(rate > 0 for rate in rates.values):
        return served
    p50, p99 = (
        interval and estimate_of(interval, NS_PER_MS)
        for interval in responses.quantiles((MEDIAN, P99), confidence)
    )
    return served.replace(response_p50_ms=p50, response_p99_ms=p99)


S_PER_HOUR = 3600
MILLION = 1_000_000
CONFIDENCE = 0.95
# A figure that several scenarios read comes from the first of these.
_MEMORY = ("memory_load_bytes", "memory_run_bytes", "memory_peak_bytes")
_ORDER = ("latency", "throughput", "server", "quality")
NO_MEMORY = "no measured scenario reads memory, or the system does not count it"
NO_ENERGY = "no energy counter, or no permission to read it"
NO_PRICE = "decision.price_per_hour is not set"
NO_THROUGHPUT = "no throughput scenario was measured"
NO_SERVER = "no server scenario was measured"
NO_LATENCY = "the decision's batch size was not measured"


class Costs(Record):
    """Costs of one candidate. A figure is None if it was not measured, and ``absent`` says why.

    Attributes:
        memory_load_bytes: Peak memory once the model is loaded, minus the peak after the imports. As with the
            other two, the value is the median over the processes, and the interval spans all of them.
        memory_run_bytes: Peak memory of the timed calls, minus the peak after the imports.
        memory_peak_bytes: Peak memory of the whole process, imports included.
        model_size_bytes: Size of the files that are loaded.
        load_ms: Time from checkpoint to session. This and the next two are medians over the processes.
        import_ms: Time to import the runtime's libraries, while another worker of the heat may import, too.
        first_call_ms: First call of the latency scenario at each batch size. A process warms up the smallest
            first: only that call is the very first one of the process.
        warmup_ms: Time from that call until calls were steady or warm-up ended. It is at least the share of
            ``protocol.warmup_min_s`` that each batch size has.
        tokenize_p50_ms: Median time to encode one text.
        energy_per_document_uj: Energy of the CPU packages over the timed blocks, including other work, by the
            machine's own counter. It covers all batch sizes together and counts the untimed calls.
        documents_per_s: Documents per second in the throughput scenario.
        throughput_batch_size: Documents per call of that scenario.
        max_rate_per_s: Requests per second that the first server scenario sustained: the median over the
            processes, with an interval.
        served: Limits and response times of that scenario at that rate.
        price_per_hour: Price of one instance, without currency.
        cost_per_million: Cost of a million documents, one call after the other, in batches of the decision's
            size.
        cost_per_million_served: Cost of a million requests at ``max_rate_per_s``.
        is_contended: Whether the machine was busy, so that rates are lower bounds.
        absent: Reason why a figure is None, by its name.
    """

    memory_load_bytes: Estimate | None = None
    memory_run_bytes: Estimate | None = None
    memory_peak_bytes: Estimate | None = None
    model_size_bytes: int | None = None
    load_ms: float | None = None
    import_ms: float | None = None
    first_call_ms: Mapping[int, float] = {}
    warmup_ms: Mapping[int, float] = {}
    tokenize_p50_ms: float | None = None
    energy_per_document_uj: float | None = None
    documents_per_s: Estimate | None = None
    throughput_batch_size: int | None = None
    max_rate_per_s: Estimate | None = None
    served: ServerFigures | None = None
    price_per_hour: float | None = None
    cost_per_million: Estimate | None = None
    cost_per_million_served: Estimate | None = None
    is_contended: bool = False
    absent: Mapping[str, str] = {}


def measure_costs(measurements: Sequence[Measurement], settings: DecisionSettings | None = None) -> Costs:
    """Read the costs of one candidate from its measurements, or from one of them.

    Money is time. With a price of p per hour of one instance,

        cost per million = p / 3600 · 1,000,000 / d

    where d is documents per second: for calls one after the other, in batches of the decision's size, as
    ``throughput_interval`` estimates it; for served requests, the maximum rate. Neither holds idle time.

    Args:
        measurements: Measurements of one candidate.
        settings: Settings of the decision: price, batch size, confidence. Without them there are no prices.
    """
    confidence = settings.confidence if settings else CONFIDENCE
    ordered = sorted(measurements, key=lambda each: _ORDER.index(each.job.scenario.kind))
    readings = [reading for each in ordered for reading in each.readings]
    memory_load, memory_run, memory_peak = _read_memory(readings)
    load, size, tokenize = (_find(readings, quantity) for quantity in (LOAD, MODEL_SIZE, TOKENIZE))
    energies = (_read_energy_uj(each.readings) for each in ordered)
    passes = _find(readings, PASS)
    costs = Costs(
        memory_load_bytes=memory_load,
        memory_run_bytes=memory_run,
        memory_peak_bytes=memory_peak,
        model_size_bytes=int(size.values[0]) if size else None,
        load_ms=_median_ms(load.values) if load else None,
        import_ms=_median_ms(load.columns["import_ns"]) if load else None,
        first_call_ms=_read_starts_ms(ordered),
        warmup_ms=_read_starts_ms(ordered, "warmup_ns"),
        tokenize_p50_ms=_median_ms(tokenize.values) if tokenize else None,
        energy_per_document_uj=next((energy for energy in energies if energy is not None), None),
        documents_per_s=_read_documents_per_s(passes, confidence),
        throughput_batch_size=passes.at["batch_size"] if passes else None,
        max_rate_per_s=find_max_rate(readings, confidence),
        served=next((served for each in ordered if (served := describe_served(each, confidence))), None),
        is_contended=any(map(_was_busy, ordered)),
    )
    return _explain(_price(costs, readings, settings), readings)


def find_max_rate(readings: Sequence[Reading], confidence: float = CONFIDENCE) -> Estimate | None:
    """Find the highest rate of the first server scenario; None if a process met the limit at no rate."""
    rates = _find(readings, MAX_RATE)
    if rates is None or not all(value > 0 for value in rates.values):
        return None
    return estimate_of(rate_interval(rates.values, confidence))


def _read_memory(readings: Sequence[Reading]) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    """Read memory loaded and running, both minus the imports, and in all; a mark of 0 is not a count."""
    marks = [_find(readings, f"{MEMORY}_{name}") for name in ("imports", "load", "run")]
    if not all(mark is not None and all(mark.values) for mark in marks):
        return None, None, None
    imports, load, run = (np.asarray(mark.values) for mark in marks if mark is not None)
    return _spread(load - imports), _spread(run - imports), _spread(np.maximum(load, run))


def _read_starts_ms(measurements: Sequence[Measurement], column: str | None = None) -> dict[int, float]:
    """Read the first call, or one of its columns, by batch size; a throughput call is a pass: not counted."""
    found: dict[int, float] = {}
    for measurement in measurements:
        if not isinstance(measurement.job.scenario, Latency):
            continue
        for reading in measurement.readings:
            if reading.quantity != FIRST_CALL:
                continue
            values = reading.values if column is None else reading.columns.get(column, ())
            if values:
                found.setdefault(reading.at["batch_size"], _median_ms(values))
    return found


def _read_energy_uj(readings: Sequence[Reading]) -> float | None:
    """Divide the energy of a measurement's blocks by their documents, including untimed calls."""
    energy = _find(readings, ENERGY)
    documents: dict[int, float] = {}
    for reading in readings:
        if reading.quantity in (LATENCY, PASS) and energy is not None:
            columns, blocks = reading.columns, set[tuple[int, int]]()
            rows = zip(
                reading.repeats, columns["round"], columns["calls_per_sample"], columns["n_documents"],
                strict=True,
            )  # fmt: skip
            for repeat, number, calls, per_call in rows:
                untimed = (repeat, number) not in blocks
                blocks.add((repeat, number))
                documents[repeat] = documents.get(repeat, 0) + (calls + untimed) * per_call
    if energy is None or not documents:
        return None
    each = zip(energy.repeats, energy.values, strict=True)
    return float(np.median([value / documents[repeat] for repeat, value in each]))


def _read_documents_per_s(passes: Reading | None, confidence: float) -> Estimate | None:
    rate = passes.throughput(confidence) if passes else None
    return estimate_of(rate) if rate else None


def _price(costs: Costs, readings: Sequence[Reading], settings: DecisionSettings | None) -> Costs:
    if settings is None or settings.price_per_hour is None:
        return costs
    per_million = settings.price_per_hour / S_PER_HOUR * MILLION
    calls = _find(readings, LATENCY, settings.batch_size)
    rate = calls.throughput(settings.confidence) if calls else None
    return costs.replace(
        price_per_hour=settings.price_per_hour,
        cost_per_million=_divide(per_million, estimate_of(rate)) if rate else None,
        cost_per_million_served=_divide(per_million, costs.max_rate_per_s),
    )


def _divide(amount: float, rate: Estimate | None) -> Estimate | None:
    """Divide an amount by a rate: the high rate gives the low end of the cost."""
    if rate is None:
        return None
    return Estimate(
        value=amount / rate.value,
        low=amount / rate.high if rate.high is not None else 0.0,
        high=amount / rate.low if rate.low > 0 else None,
    )


def _explain(costs: Costs, readings: Sequence[Reading]) -> Costs:
    """Add the reason why a figure is None."""
    rates = _find(readings, MAX_RATE)
    no_rate = describe_unmet(rates) if rates else NO_SERVER
    is_priced = costs.price_per_hour is not None
    reasons = {
        **dict.fromkeys(_MEMORY, NO_MEMORY),
        "energy_per_document_uj": NO_ENERGY,
        "documents_per_s": NO_THROUGHPUT,
        "max_rate_per_s": no_rate,
        "cost_per_million": NO_LATENCY if is_priced else NO_PRICE,
        "cost_per_million_served": no_rate if is_priced else NO_PRICE,
    }
    absent = {name: reason for name, reason in reasons.items() if getattr(costs, name) is None}
    return costs.replace(absent=absent)


def describe_unmet(rates: Reading) -> str:
    """Count the processes of a server that met the limit at no rate, in words."""
    n_unmet = sum(value <= 0 for value in rates.values)
    return f"no rate that was tried met the limit in {n_unmet} of {len(rates.values)} processes"


def _was_busy(measurement: Measurement) -> bool:
    """Return whether rates are lower bounds; a measurement outside a heat has no rounds to repeat."""
    is_disturbed_alone = measurement.heat is None and measurement.has_flag(DISTURBED.name)
    return is_contended(measurement) or is_disturbed_alone


def _find(readings: Sequence[Reading], quantity: str, batch_size: int | None = None) -> Reading | None:
    return next(
        (
            reading
            for reading in readings
            if reading.quantity == quantity
            and reading.values
            and batch_size in (None, reading.at.get("batch_size"))
        ),
        None,
    )


def _spread(values: NDArray[np.float64]) -> Estimate:
    """Return the median over the processes, with the least and the most as interval."""
    return Estimate(value=float(np.median(values)), low=float(values.min()), high=float(values.max()))


def _median_ms(values_ns: Sequence[float]) -> float:
    return float(np.median(values_ns)) / NS_PER_MS
