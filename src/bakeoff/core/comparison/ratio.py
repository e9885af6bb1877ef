"""Pairing: the ratio of two measurements' times, and the ground on which they are comparable.

Common rounds come first: one heat, or a reference that both were measured with in equal environments. Without
them there are two absolute values of two sessions. A machine drifts by tens of per cent between sessions
without a sign, so bakeoff compares those only on request.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from bakeoff.core.job import Environment
from bakeoff.core.records import HeatFacts, Measurement
from bakeoff.core.validity.noise import is_contended
from bakeoff.measure.statistics.intervals import MEDIAN, Interval
from bakeoff.measure.statistics.readings import APART, REFERENCE, Reading, ratio_to_reference
from bakeoff.measure.statistics.stability import FAR_FACTOR, find_far

RatioBasis = Literal["same rounds", "common reference", "absolute values"]
NO_SAMPLES = "too few samples for an interval of this quantile; measure more repeats or rounds"
HOW_TO_BRIDGE = (
    "measure both again in one session (`bakeoff bench --set benchmark.run.mode=force_new`); across an "
    "upgrade, bench in the old and the new environment by turns, and compare those attempts with "
    "`--allow-unlike-environments`"
)


class TimingPoint(NamedTuple):
    """Calls that are compared, and their quantile.

    Attributes:
        quantity: ``latency`` or ``pass``.
        p: Quantile.
    """

    quantity: str
    batch_size: int
    p: float = MEDIAN


class Paired(NamedTuple):
    """Ratio of two measurements.

    Attributes:
        ratio: Time of the candidate over time of the baseline; None if they are not comparable.
        basis: Ground of the comparison; None without one.
        remark: Reason why the ratio is missing, or a limit of the interval.
    """

    ratio: Interval | None
    basis: RatioBasis | None = None
    remark: str = ""


def pair_times(
    baseline: Measurement,
    candidate: Measurement,
    place: TimingPoint,
    confidence: float,
    *,
    allow_unlike_environments: bool = False,
) -> Paired:
    """Find the ratio of two times on the best available ground.

    If the machine was busy for either, the ratio is of CPU times, provided that both and their common
    reference used one thread.

    Args:
        baseline: Measurement to divide by.
        candidate: Measurement of a job with the same texts.
        place: Calls to compare.
        confidence: Confidence of the interval.
        allow_unlike_environments: Whether to compare absolute values if nothing else joins the two.
    """
    difference = describe_unlike_jobs(baseline, candidate)
    if difference:
        return Paired(None, remark=f"not the same work: {difference}")
    by_cpu = is_contended(baseline, candidate) and _use_one_thread(baseline, candidate)
    if baseline.heat and candidate.heat and baseline.heat.heat_id == candidate.heat.heat_id:
        own = find_calls(candidate, place), find_calls(baseline, place)
        ratio = _divide_readings(*own, place, confidence, by_cpu=by_cpu)
        return Paired(ratio, "same rounds", "" if ratio else NO_SAMPLES)
    differing = describe_unlike(baseline.environment, candidate.environment)
    through = _ratio_through_reference(baseline, candidate, place, confidence, by_cpu=by_cpu)
    if through is not None and not differing:
        return Paired(through, "common reference")
    ground = differing or "two sessions without a common reference"
    if not allow_unlike_environments:
        refusal = f"{ground}: absolute times are not comparable; {HOW_TO_BRIDGE}"
        return Paired(None, remark=refusal)
    return _pair_absolute(baseline, candidate, place, confidence, ground=ground, through=through)


def divide_intervals(mine: Interval, other: Interval) -> Interval:
    """Divide two positive quantities with independent intervals.

    On the log scale, the distance of each end from the ratio is the root of the sum of the squares of the two
    distances that lead there: the method of variance estimates recovery (Zou and Donner, Statistics in
    Medicine 27, 2008). It keeps the confidence of the two intervals, and their skew.
    """
    ratio = mine.value / other.value
    below = math.hypot(_log_ratio(mine.value, mine.low), _log_ratio(other.high, other.value))
    above = math.hypot(_log_ratio(mine.high, mine.value), _log_ratio(other.value, other.low))
    return Interval(ratio, ratio * math.exp(-below), ratio * math.exp(above))


def describe_unlike(baseline: Environment, candidate: Environment) -> str:
    """Describe the difference of two environments; empty if their measurements may be ranked together."""
    if baseline.digest == candidate.digest:
        return ""
    lines = []
    if baseline.hardware != candidate.hardware:
        lines.append(f"hardware {baseline.hardware.label} → {candidate.hardware.label}")
    for name in sorted(baseline.libraries.keys() | candidate.libraries.keys()):
        before, after = baseline.libraries.get(name, "none"), candidate.libraries.get(name, "none")
        if before != after:
            lines.append(f"{name} {before} → {after}")
    return f"different environments ({', '.join(lines)})"


def describe_unlike_jobs(baseline: Measurement, candidate: Measurement) -> str:
    """Describe the difference in work of two timed jobs; empty if they do the same."""
    mine, other = baseline.job, candidate.job
    before, after = (job.scenario.model_dump(mode="json", exclude={"batch_sizes"}) for job in (mine, other))
    lines = [
        f"{name} {before.get(name)} → {after.get(name)}" for name in before if before[name] != after.get(name)
    ]
    if mine.inputs_digest != other.inputs_digest:
        lines.append("timed on different texts")
    if mine.max_length != other.max_length:
        lines.append(f"max_length {mine.max_length} → {other.max_length}")
    return ", ".join(lines)


def find_calls(measurement: Measurement, place: TimingPoint) -> Reading | None:
    """Find the calls to compare; None if they were not measured."""
    return measurement.reading(place.quantity, batch_size=place.batch_size)


def _use_one_thread(*measurements: Measurement) -> bool:
    return all(each.job.runtime.threads == 1 for each in measurements)


def _divide_readings(
    mine: Reading | None, other: Reading | None, place: TimingPoint, confidence: float, *, by_cpu: bool
) -> Interval | None:
    """Return the ratio of calls that ran in the same rounds."""
    if mine is None or other is None:
        return None
    return ratio_to_reference(mine, other, confidence, p=place.p, by_cpu=by_cpu)


def _ratio_through_reference(
    baseline: Measurement, candidate: Measurement, place: TimingPoint, confidence: float, *, by_cpu: bool
) -> Interval | None:
    """Divide the ratios of both to their common reference; None without one.

    They are of CPU time only if all candidates of both heats allow it.
    """
    if not (baseline.heat and candidate.heat) or baseline.heat.reference_key != candidate.heat.reference_key:
        return None
    # A reference that was measured twice has nothing that joins its two sessions.
    if _is_reference(baseline, baseline.heat) and _is_reference(candidate, candidate.heat):
        return None
    ratios = [
        Interval(1.0, 1.0, 1.0)
        if _is_reference(each, heat)
        else _divide_readings(
            find_calls(each, place),
            each.reading(REFERENCE, batch_size=place.batch_size),
            place,
            confidence,
            by_cpu=by_cpu and baseline.heat.uses_one_thread and candidate.heat.uses_one_thread,
        )
        for each, heat in ((candidate, candidate.heat), (baseline, baseline.heat))
    ]
    mine, other = ratios
    return divide_intervals(mine, other) if mine and other else None


def _is_reference(measurement: Measurement, heat: HeatFacts) -> bool:
    return heat.reference_key == measurement.job.key


def _pair_absolute(
    baseline: Measurement,
    candidate: Measurement,
    place: TimingPoint,
    confidence: float,
    *,
    ground: str,
    through: Interval | None,
) -> Paired:
    """Divide two absolute values, with an interval that holds the change of the calibration loop."""
    mine, other = (
        reading.quantile(place.p, confidence) if (reading := find_calls(each, place)) else None
        for each in (candidate, baseline)
    )
    if mine is None or other is None:
        return Paired(None, remark=NO_SAMPLES)
    ratio = divide_intervals(mine, other)
    remark = (
        f"absolute values, {ground}: the interval does not hold the drift of the machine between sessions"
    )
    change = _calibration_change(baseline.heat, candidate.heat)
    if change is not None:
        ratio = _stretch(ratio, change)
        remark += f", except the {change:.3f}× of the calibration loop"
    change = _core_to_core_change(baseline, candidate)
    if change is not None:
        ratio = _stretch(ratio, change)
        remark += f"; it also holds that data took {change:.1f}× as long from CPU to CPU"
    if through is not None:
        shown = f"{through.value:.3f} [{through.low:.3f}, {through.high:.3f}]"
        remark += f"; through the reference it is {shown}, if the reference is as fast as before"
    return Paired(ratio, "absolute values", remark)


def _calibration_change(baseline: HeatFacts | None, candidate: HeatFacts | None) -> float | None:
    """Return the ratio of calibration loops; None if one of the two sessions had none."""
    if not (baseline and candidate and baseline.calibration_ns and candidate.calibration_ns):
        return None
    change = float(np.median(candidate.calibration_ns) / np.median(baseline.calibration_ns))
    return change if change > 0 and math.isfinite(change) else None


def _core_to_core_change(baseline: Measurement, candidate: Measurement) -> float | None:
    """Return the ratio of core-to-core latencies; None if one was not read, or both are near."""
    before_ns, after_ns = (_typical_core_to_core_ns(each) for each in (baseline, candidate))
    if before_ns is None or after_ns is None:
        return None
    change = after_ns / before_ns
    return change if change > FAR_FACTOR or change < 1 / FAR_FACTOR else None


def _typical_core_to_core_ns(measurement: Measurement) -> float | None:
    """Return the median of the rounds that count: only the near ones, if far ones are excluded."""
    if measurement.heat is None or not measurement.heat.core_to_core_ns:
        return None
    latencies_ns = np.array(measurement.heat.core_to_core_ns)
    are_out = any(APART in row.columns.get("left_out", ()) for row in measurement.readings)
    return float(np.median(latencies_ns[~find_far(latencies_ns)] if are_out else latencies_ns))


def _stretch(ratio: Interval, change: float) -> Interval:
    """Widen an interval to hold both cases: the machine changed by this factor, or it did not."""
    return Interval(ratio.value, min(ratio.low, ratio.low / change), max(ratio.high, ratio.high / change))


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if below > 0 and math.isfinite(above) else math.inf
