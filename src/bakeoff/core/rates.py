"""Rates: what one server scenario asked for, and how long requests took at the highest rate that met it."""

from __future__ import annotations

from bakeoff.core.estimate import Estimate, estimate_of
from bakeoff.core.records import Measurement
from bakeoff.measure.readings import MAX_RATE, MEDIAN, NS_PER_MS, RESPONSE
from bakeoff.measure.scenarios import Server
from bakeoff.record import Record

P99 = 0.99


class Served(Record):
    """One server scenario of one candidate, beside its highest rate.

    Attributes:
        limit_ms: Within which a response had to come.
        quantile: Share of the requests that had to be within it.
        batch_max: Most requests that were answered together.
        response_p50_ms: From the scheduled arrival to the answer, waiting included; the responses of all
            processes together, each at the highest rate that it found itself. None where the limit was met at
            no rate in any of them.
        response_p99_ms: Of the same responses.
    """

    limit_ms: float
    quantile: float
    batch_max: int
    response_p50_ms: Estimate | None = None
    response_p99_ms: Estimate | None = None


def describe_served(measurement: Measurement, confidence: float = 0.95) -> Served | None:
    """What a server scenario asked for, and its response times; None for every other scenario."""
    scenario = measurement.job.scenario
    if not isinstance(scenario, Server):
        return None
    served = Served(limit_ms=scenario.limit_ms, quantile=scenario.quantile, batch_max=scenario.batch_max)
    rates, responses = measurement.reading(MAX_RATE), measurement.reading(RESPONSE)
    # Without the processes that met the limit at no rate it would be the response time of the lucky ones.
    if rates is None or responses is None or not all(rate > 0 for rate in rates.values):
        return served
    p50, p99 = (
        interval and estimate_of(interval, NS_PER_MS)
        for interval in responses.quantiles((MEDIAN, P99), confidence)
    )
    return served.model_copy(update={"response_p50_ms": p50, "response_p99_ms": p99})
