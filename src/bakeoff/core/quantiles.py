"""Quantiles of latency: the same ones wherever a latency is told, each with its interval."""

from __future__ import annotations

from bakeoff.core.candidates import Candidate
from bakeoff.core.estimate import Estimate, estimate_of
from bakeoff.measure.readings import NS_PER_MS, Reading

SHOWN_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def summarize_calls(reading: Reading, confidence: float = 0.95) -> dict[str, Estimate | None]:
    """The shown quantiles of one reading in ms; None for what its samples do not carry."""
    intervals = reading.quantiles(list(SHOWN_QUANTILES.values()), confidence)
    return {
        name: None if interval is None else estimate_of(interval, NS_PER_MS)
        for name, interval in zip(SHOWN_QUANTILES, intervals, strict=True)
    }


def summarize_latencies(candidate: Candidate, confidence: float) -> dict[int, dict[str, Estimate | None]]:
    """The shown quantiles of a candidate at every batch size."""
    return {size: summarize_calls(reading, confidence) for size, reading in sorted(candidate.latency.items())}
