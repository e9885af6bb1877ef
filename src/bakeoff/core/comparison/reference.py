"""Comparison of a candidate with the reference of its heat: the ratio of times, and the verdict."""

from __future__ import annotations

from typing import Literal

from bakeoff.core.estimate import Estimate, estimate_of
from bakeoff.core.records import Measurement
from bakeoff.core.validity.noise import clock_of
from bakeoff.measure.statistics.intervals import MEDIAN, Interval
from bakeoff.measure.statistics.moderation import Of, joint_factor, prior_of
from bakeoff.measure.statistics.ratios import Verdict, adjusted_confidence, judge_ratio
from bakeoff.measure.statistics.readings import LATENCY, PASS, REFERENCE, Reading, ratio_to_reference
from bakeoff.record import Record

CONFIDENCE = 0.95


class ReferenceComparison(Record):
    """Time of a candidate over time of the reference, at one batch size.

    Attributes:
        reference: Name of the reference.
        ratio: Above 1 is slower; None for the reference itself, or with too few samples.
        verdict: Verdict on the ratio; ``reference`` for the reference itself, None without a ratio.
    """

    reference: str
    ratio: Estimate | None
    verdict: Verdict | Literal["reference"] | None


def compare_to_reference(measurement: Measurement, batch_size: int) -> ReferenceComparison | None:
    """Compare one measurement with its heat's reference, by their common rounds.

    At one batch size the intervals of all candidates of a heat hold together with 95 %, see ``joint_factor``.
    Each batch size is a question of its own, without adjustment between them. On a contended machine the
    ratio is of CPU times, if all of the heat used one thread: they do not hold the share of other work.

    Args:
        measurement: Measurement of a scenario that runs in heats.
        batch_size: Batch size to compare.

    Returns:
        The comparison, or None for a measurement outside a heat.
    """
    heat, job = measurement.heat, measurement.job
    if heat is None:
        return None
    if heat.reference_key == job.key:
        return ReferenceComparison(reference=heat.reference, ratio=None, verdict="reference")
    calls = _find(measurement, LATENCY, PASS, at=batch_size)
    reference = _find(measurement, REFERENCE, at=batch_size)
    ratio = None
    if calls is not None and reference is not None:
        ratio = _compare_jointly(
            calls, reference, len(heat.candidates) - 1, by_cpu=clock_of(measurement) == "CPU time"
        )
    return ReferenceComparison(
        reference=heat.reference,
        ratio=estimate_of(ratio) if ratio else None,
        verdict=judge_ratio(ratio) if ratio else None,
    )


def _compare_jointly(calls: Reading, reference: Reading, n_compared: int, *, by_cpu: bool) -> Interval | None:
    """Return the ratio, with an interval that holds together with those of all others of the heat.

    Without a spread of the heat, as with a single repeat, Bonferroni's adjustment remains.
    """
    of: Of = "ratio of CPU time" if by_cpu else "ratio"
    spread = next((each for each in calls.spreads if (each.of, each.quantile) == (of, MEDIAN)), None)
    if spread is None:
        confidence = adjusted_confidence(CONFIDENCE, n_compared)
        return ratio_to_reference(calls, reference, confidence, by_cpu=by_cpu)
    factor = joint_factor(spread.ratios_at(calls.at["batch_size"]), prior_of(spread), CONFIDENCE)
    return ratio_to_reference(calls, reference, CONFIDENCE, by_cpu=by_cpu, factor=factor)


def _find(measurement: Measurement, *quantities: str, at: int) -> Reading | None:
    found = (measurement.reading(quantity, batch_size=at) for quantity in quantities)
    return next((reading for reading in found if reading is not None), None)
