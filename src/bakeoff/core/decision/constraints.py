"""Constraints: limits that a winner must meet; the whole interval decides: met, failed or unknown."""

from __future__ import annotations

import math
from typing import Literal

from bakeoff.core.config.decision_rules import (
    Constraint,
    LatencyLimit,
    MemoryLimit,
    QualityDrop,
    QualityFloor,
    ServerRateFloor,
    ThroughputFloor,
)
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import find_latency
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.costs import NO_MEMORY, NO_SERVER, NO_THROUGHPUT
from bakeoff.core.decision.production import NOT_ASKED, NOT_MEASURED, Gaps
from bakeoff.core.estimate import Estimate
from bakeoff.measure.tasks.metrics import Metric
from bakeoff.record import Record

Met = Literal["met", "failed", "cannot tell"]
BYTES_PER_MIB = 2**20
_ROUNDING = 1e-12  # 0.850 - 0.845 is a little more than 0.005


class ConstraintResult(Record):
    """Result of one constraint for one candidate, with its text."""

    result: Met
    text: str


def check_constraint(
    candidate: Candidate,
    limit: Constraint,
    quality: Estimate | None,
    gaps: Gaps,
    *,
    metric: Metric | None,
    settings: DecisionSettings,
) -> ConstraintResult:
    """Check one candidate against one limit.

    Args:
        candidate: Candidate with its measurements.
        limit: Limit to meet.
        quality: Quality of the candidate; None if it was not measured.
        gaps: Quality of the candidate minus that of production, and minus that of the reference.
        metric: Metric of quality; None if the task has none.
        settings: Settings of the decision.
    """
    match limit:
        case QualityFloor() | QualityDrop():
            return check_quality_limit(limit, quality, gaps, metric)
        case LatencyLimit():
            found = find_latency(candidate, limit.batch_size, limit.quantile, settings.confidence)
            return check_latency(found, limit, is_contended=candidate.is_contended)
        case MemoryLimit():
            return _check_memory(candidate, limit)
        case ThroughputFloor() | ServerRateFloor():
            return _check_rate(candidate, limit)


def check_quality_limit(
    limit: QualityFloor | QualityDrop, quality: Estimate | None, gaps: Gaps, metric: Metric | None
) -> ConstraintResult:
    """Check a limit of quality, for which nothing needs to be timed; arguments as in ``check_constraint``."""
    if isinstance(limit, QualityFloor):
        return _check_quality(quality, limit, metric)
    return _check_drop(gaps.get(limit.against, NOT_ASKED), limit, metric)


def _check_quality(found: Estimate | None, limit: QualityFloor, metric: Metric | None) -> ConstraintResult:
    if found is None or metric is None:
        name = metric.label if metric is not None else "quality"
        return ConstraintResult(result="cannot tell", text=f"{name}: {NOT_MEASURED}")
    decimals = 3 if metric.is_bounded else _decimals(found.value)
    value, low, high = (f"{number:.{decimals}f}" for number in _ends(found))
    shown = f"{metric.label}: {value} [{low}, {high}]"
    if limit.at_least is not None:
        text = f"{shown} ≥ {limit.at_least:g}"
        return ConstraintResult(result=_reaches(found, limit.at_least), text=text)
    most = limit.at_most if limit.at_most is not None else math.inf
    return ConstraintResult(result=_stays_below(found, most), text=f"{shown} ≤ {most:g}")


def _check_drop(found: Estimate | str, limit: QualityDrop, metric: Metric | None) -> ConstraintResult:
    name = f"{metric.label if metric is not None else 'quality'} against {limit.against}"
    if isinstance(found, str) or metric is None:
        why = found if isinstance(found, str) else NOT_MEASURED
        return ConstraintResult(result="cannot tell", text=f"{name}: {why}")
    ends = _ends(found)
    decimals = 4 if metric.is_bounded else _decimals(max(map(abs, ends)))
    value, low, high = (f"{number:+.{decimals}f}" for number in ends)
    shown, room = f"{name}: {value} [{low}, {high}]", limit.at_most * (1 + _ROUNDING) + _ROUNDING
    if metric.direction == "maximize":
        return ConstraintResult(result=_reaches(found, -room), text=f"{shown} ≥ {-limit.at_most:g}")
    return ConstraintResult(result=_stays_below(found, room), text=f"{shown} ≤ {limit.at_most:g}")


def _ends(found: Estimate) -> tuple[float, float, float]:
    return found.value, found.low, math.inf if found.high is None else found.high


def _decimals(value: float) -> int:
    """Return the decimals that give four significant digits, at most nine."""
    if not value or not math.isfinite(value):
        return 0
    return min(max(3 - math.floor(math.log10(abs(value))), 0), 9)


def check_latency(found: Estimate | None, limit: LatencyLimit, *, is_contended: bool) -> ConstraintResult:
    """Check the latency of one candidate against one limit.

    Args:
        found: Latency at the batch size and quantile of the limit; None if it is not known.
        limit: Limit to meet.
        is_contended: Whether the machine was too busy, so that the latency is an upper bound only.
    """
    name = f"p{limit.quantile * 100:g} at batch size {limit.batch_size}"
    if found is None:
        return ConstraintResult(result="cannot tell", text=f"{name}: not measured, or too few samples")
    upper = f"{found.high:.2f}" if found.high is not None else "∞"
    text = f"{name}: {found.value:.2f} ms [{found.low:.2f}, {upper}] ≤ {limit.at_most_ms:g} ms"
    result = _stays_below(found, limit.at_most_ms)
    # Other work can only have made it slower: a busy machine proves no candidate too slow.
    is_unproven = result == "failed" and is_contended
    return ConstraintResult(result="cannot tell" if is_unproven else result, text=text)


def _check_memory(candidate: Candidate, limit: MemoryLimit) -> ConstraintResult:
    found = candidate.costs.memory_run_bytes if candidate.costs else None
    if found is None:
        return ConstraintResult(result="cannot tell", text=f"memory: {NO_MEMORY}")
    value, low, high, most = (
        f"{number / BYTES_PER_MIB:.1f}"
        for number in (found.value, found.low, found.high or found.value, limit.at_most_bytes)
    )
    text = f"memory: {value} MiB [{low}, {high}] ≤ {most} MiB"
    return ConstraintResult(result=_stays_below(found, limit.at_most_bytes), text=text)


def _check_rate(candidate: Candidate, limit: ThroughputFloor | ServerRateFloor) -> ConstraintResult:
    costs = candidate.costs
    if limit.kind == "throughput":
        name, unit = "throughput", "documents/s"
        found, why = (costs.documents_per_s if costs else None), NO_THROUGHPUT
    else:
        name, unit = "server", "requests/s"
        found = costs.max_rate_per_s if costs else None
        why = costs.absent.get("max_rate_per_s", NO_SERVER) if costs else NO_SERVER
    if costs is None or found is None:
        return ConstraintResult(result="cannot tell", text=f"{name}: {why}")
    upper = f"{found.high:.1f}" if found.high is not None else "∞"
    text = f"{name}: {found.value:.1f} {unit} [{found.low:.1f}, {upper}] ≥ {limit.at_least_per_s:g}"
    result = _reaches(found, limit.at_least_per_s)
    is_unproven = result == "failed" and costs.is_contended
    return ConstraintResult(result="cannot tell" if is_unproven else result, text=text)


def _reaches(found: Estimate, least: float) -> Met:
    if found.low >= least:
        return "met"
    return "failed" if found.high is not None and found.high < least else "cannot tell"


def _stays_below(found: Estimate, most: float) -> Met:
    if found.high is not None and found.high <= most:
        return "met"
    return "failed" if found.low > most else "cannot tell"
