"""One quantity of two candidates side by side: both values, the change, and the result of the gate."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from bakeoff.core.comparison.gate import (
    DEFAULT_POINTS,
    POINTS,
    ComparedQuantity,
    ComparisonSettings,
    MetricComparison,
    Side,
    gate_regression,
    judge_regression,
)
from bakeoff.core.comparison.ratio import Paired, TimingPoint, find_calls, pair_times
from bakeoff.core.decision.costs import measure_costs
from bakeoff.core.estimate import Estimate, estimate_of
from bakeoff.core.quality import QualityMetric, draw_quality, measure_quality
from bakeoff.core.records import Measurement
from bakeoff.core.validity.noise import is_contended
from bakeoff.errors import UserError
from bakeoff.measure.statistics.intervals import Interval
from bakeoff.measure.statistics.readings import LATENCY, NS_PER_MS, OUTCOMES, PASS, Reading
from bakeoff.measure.tasks import metrics

BUSY = "the machine was too busy (contended), so the ratio proves nothing; measure again when it is quiet"


def compare_quantity(
    metric: ComparedQuantity, baseline: Side, candidate: Side, settings: ComparisonSettings
) -> MetricComparison:
    """Compare two candidates in one quantity.

    Args:
        metric: Quantity to compare.
        baseline: Side that the change starts from.
        candidate: Side that is judged.
        settings: Margins, place, and the confidence of this one interval.

    Raises:
        UserError: The task has no such metric of quality.
    """
    match metric:
        case "quality":
            return _compare_quality(baseline, candidate, settings)
        case "memory" | "size":
            return _compare_cost(metric, baseline, candidate, settings)
        case "latency" | "throughput":
            return _compare_times(metric, baseline, candidate, settings)


def compare_outcomes(
    baseline: Reading, candidate: Reading, metric: metrics.Metric, settings: ComparisonSettings
) -> tuple[Estimate, Estimate, Estimate]:
    """Return the metric of both and their difference, with intervals of a paired bootstrap.

    The difference is in points for a share, and in units of the metric for any other.

    Each resample takes the same documents for both, so that the luck of the sample cancels out (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
    """
    drawn = draw_quality((baseline, candidate), metric, settings.resamples, settings.seed).T
    ends = [0.5 - settings.confidence / 2, 0.5 + settings.confidence / 2]
    values = [measure_quality(each, metric) for each in (baseline, candidate)]
    per_unit = POINTS if metric.is_share else 1
    found = [
        Estimate(value=value, low=float(low), high=float(high))
        for value, (low, high) in (
            (values[0], np.quantile(drawn[0], ends)),
            (values[1], np.quantile(drawn[1], ends)),
            (per_unit * (values[1] - values[0]), np.quantile(per_unit * (drawn[1] - drawn[0]), ends)),
        )
    ]
    return found[0], found[1], found[2]


def _compare_times(
    metric: Literal["latency", "throughput"], baseline: Side, candidate: Side, settings: ComparisonSettings
) -> MetricComparison:
    before, after = baseline.find(metric), candidate.find(metric)
    place = _find_place(metric, before or after, settings)
    what = f"{metric} p{place.p * 100:g}, batch {place.batch_size}"
    if metric == "throughput":
        what = f"throughput, batch {place.batch_size} (time of a pass)"
    estimates = [_estimate_ms(each, place, settings.confidence) for each in (before, after)]
    line = MetricComparison(
        metric=metric, what=what, unit="ms", baseline=estimates[0], candidate=estimates[1]
    )
    if before is None or after is None:
        return _lack(line, baseline if before is None else candidate, f"no {metric} measurement")
    for side, measurement in ((baseline, before), (candidate, after)):
        if find_calls(measurement, place) is None:
            sizes = sorted(r.at["batch_size"] for r in measurement.readings if r.quantity == place.quantity)
            measured = ", ".join(map(str, sizes)) or "none"
            return _lack(line, side, f"batch size {place.batch_size} is not measured (measured: {measured})")
    paired = pair_times(
        before, after, place, settings.confidence,
        allow_unlike_environments=settings.allow_unlike_environments,
    )  # fmt: skip
    return _judge_times(
        line,
        paired,
        settings.margin,
        is_busy=is_contended(before, after) and not (before.is_valid and after.is_valid),
    )


def _judge_times(line: MetricComparison, paired: Paired, margin: float, *, is_busy: bool) -> MetricComparison:
    ratio = paired.ratio
    if ratio is None:
        return line.replace(remark=paired.remark)
    found = _judge(line, ratio, margin).replace(basis=paired.basis, remark=paired.remark)
    if not is_busy:
        return found
    remark = "; ".join(filter(None, (BUSY, paired.remark)))
    return found.replace(verdict="cannot tell", gate="cannot tell", remark=remark)


def _judge(line: MetricComparison, ratio: Interval, margin: float) -> MetricComparison:
    low = math.log(ratio.low) if ratio.low > 0 else -math.inf
    high, zone = math.log(ratio.high), math.log1p(margin)
    return line.replace(
        change=estimate_of(ratio),
        verdict=judge_regression(low, high, zone),
        gate=gate_regression(low, high, zone),
    )


def _find_place(
    metric: ComparedQuantity, measurement: Measurement | None, settings: ComparisonSettings
) -> TimingPoint:
    if metric == "latency":
        return TimingPoint(LATENCY, settings.batch_size, settings.quantile)
    passes = [r for r in measurement.readings if r.quantity == PASS] if measurement else []
    return TimingPoint(PASS, passes[0].at["batch_size"] if passes else settings.batch_size)


def _estimate_ms(measurement: Measurement | None, place: TimingPoint, confidence: float) -> Estimate | None:
    calls = find_calls(measurement, place) if measurement else None
    interval = calls.quantile(place.p, confidence) if calls else None
    return estimate_of(interval, NS_PER_MS) if interval else None


def _compare_quality(baseline: Side, candidate: Side, settings: ComparisonSettings) -> MetricComparison:
    line = MetricComparison(metric="quality", what="quality", unit="quality", scale="units")
    found = []
    for side in (baseline, candidate):
        measurement = side.find("quality")
        outcomes = measurement.reading(OUTCOMES) if measurement else None
        if measurement is None or outcomes is None or not outcomes.values:
            return _lack(line, side, "no quality measurement")
        found.append((measurement, outcomes))
    (before, mine), (after, other) = found
    if before.job.task.kind != after.job.task.kind:
        return line.replace(remark=f"different tasks: {before.job.task.kind} and {after.job.task.kind}")
    metric = _find_metric(before, settings)
    scale: Literal["points", "units"] = "points" if metric.is_share else "units"
    line = line.replace(what=f"quality, {metric.label}", quality=QualityMetric.of(metric), scale=scale)
    if before.job.inputs_digest != after.job.inputs_digest or len(mine.values) != len(other.values):
        return line.replace(remark="scored on different documents: they cannot be paired")
    first, second, change = compare_outcomes(mine, other, metric, settings)
    margin, remark = _find_quality_margin(metric, settings)
    ends = change.low, change.high if change.high is not None else math.inf
    low, high = sorted(ends) if metric.direction == "minimize" else sorted(-end for end in ends)
    return line.replace(
        baseline=first,
        candidate=second,
        change=change,
        margin=margin,
        basis="same documents",
        verdict=judge_regression(low, high, margin),
        gate=gate_regression(low, high, margin),
        remark=remark,
    )


def _find_metric(measurement: Measurement, settings: ComparisonSettings) -> metrics.Metric:
    task = measurement.job.task
    try:
        return task.find_metric(settings.quality_metric)
    except KeyError:
        known = ", ".join(task.metrics)
        raise UserError(
            f"quality metric: found {settings.quality_metric!r}; the metrics of {task.kind} are {known}"
        ) from None


def _find_quality_margin(metric: metrics.Metric, settings: ComparisonSettings) -> tuple[float, str]:
    """Return the allowed loss, with a remark if none is set and the metric is not a share."""
    margin = settings.quality_margin
    if margin is not None:
        if metric.is_share and margin > POINTS:
            raise UserError(f"quality margin: found {margin:g}; {metric.label} has {POINTS} points")
        return margin, ""
    if metric.is_share:
        return DEFAULT_POINTS, ""
    return 0.0, f"no loss is allowed; set --quality-margin in units of {metric.label} to allow some"


def _compare_cost(
    metric: Literal["memory", "size"], baseline: Side, candidate: Side, settings: ComparisonSettings
) -> MetricComparison:
    what = "memory of the timed calls" if metric == "memory" else "size of the model"
    line = MetricComparison(metric=metric, what=what, unit="bytes")
    found = []
    for side in (baseline, candidate):
        estimate = _find_cost(metric, side)
        if estimate is None or estimate.low <= 0 or estimate.high is None:
            return _lack(line, side, f"no {metric} is measured")
        found.append(Interval(estimate.value, estimate.low, estimate.high))
    mine, other = found
    ratio = Interval(other.value / mine.value, other.low / mine.high, other.high / mine.low)
    judged = _judge(line, ratio, settings.margin)
    estimates = {"baseline": estimate_of(mine), "candidate": estimate_of(other)}
    return judged.replace(**estimates, basis="process by process")


def _find_cost(metric: Literal["memory", "size"], side: Side) -> Estimate | None:
    costs = measure_costs(side.measurements)
    if metric == "memory":
        return costs.memory_run_bytes
    size = costs.model_size_bytes
    return None if size is None else Estimate(value=size, low=size, high=size)


def _lack(line: MetricComparison, side: Side, what: str) -> MetricComparison:
    return line.replace(remark=f"{side.label}: {what}")
