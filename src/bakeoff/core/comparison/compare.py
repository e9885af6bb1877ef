"""Comparison: two candidates, or two sets of them, side by side, and whether the second one may pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bakeoff.core.comparison.gate import (
    METRICS,
    ComparedQuantity,
    ComparisonSettings,
    GateResult,
    MetricComparison,
    Side,
)
from bakeoff.core.comparison.metrics import compare_quantity
from bakeoff.measure.statistics.ratios import adjusted_confidence
from bakeoff.record import Record

GATED: tuple[ComparedQuantity, ...] = ("latency", "quality")
UNGATED = "{}: the gate has neither latency nor quality; name another quantity with --metric"


class SideFacts(Record):
    """Measurements of one side of a comparison.

    Attributes:
        keys: Benchmark key by scenario.
        attempts: Number of the attempt by scenario.
        measured_at: Time of the measurement by scenario: UTC, ISO 8601.
    """

    label: str
    keys: dict[str, str]
    attempts: dict[str, int]
    measured_at: dict[str, str]


class Pair(Record):
    """Two candidates side by side."""

    baseline: SideFacts
    candidate: SideFacts
    lines: tuple[MetricComparison, ...]


class Comparison(Record):
    """All pairs, and what the gate says.

    Attributes:
        confidence: Confidence of each interval, so that all hold together with that of the settings.
        new: Labels that only the candidate has.
        remarks: Lines about missing measurements.
    """

    outcome: GateResult
    pairs: tuple[Pair, ...]
    # Labels that only the baseline has.
    lacking: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    confidence: float
    settings: ComparisonSettings


def compare(baseline: Sequence[Side], candidate: Sequence[Side], settings: ComparisonSettings) -> Comparison:
    """Compare every candidate of the baseline with its counterpart.

    Two single candidates are each other's counterpart, even with different labels; else labels pair them.

    Args:
        baseline: Sides of the baseline, with each label once.
        candidate: Sides of the candidate, with each label once.
        settings: Margins, place, confidence.

    Raises:
        UserError: The task has no such metric of quality.
    """
    by_label = {side.label: side for side in candidate}
    if len(baseline) == len(candidate) == 1:
        pairs = [(baseline[0], candidate[0])]
        lacking: tuple[str, ...] = ()
        new: tuple[str, ...] = ()
    else:
        pairs = [(side, by_label[side.label]) for side in baseline if side.label in by_label]
        known = {side.label for side in baseline}
        lacking = tuple(side.label for side in baseline if side.label not in by_label)
        new = tuple(side.label for side in candidate if side.label not in known)
    gated = [_choose_gated(*pair, settings) for pair in pairs]
    n_intervals = sum(metric not in ("memory", "size") for each in gated for metric in each)
    confidence = adjusted_confidence(settings.confidence, n_intervals)
    held = settings.replace(confidence=confidence)
    rows = tuple(
        Pair(
            baseline=_describe(pair[0]),
            candidate=_describe(pair[1]),
            lines=tuple(_compare(*pair, held, gates)),
        )
        for pair, gates in zip(pairs, gated, strict=True)
    )
    return Comparison(
        outcome=_conclude([line.gate for row in rows for line in row.lines if line.gate], lacking),
        pairs=rows,
        lacking=lacking,
        new=new,
        remarks=(
            *dict.fromkeys(line for pair in pairs for side in pair for line in side.lacking),
            *(UNGATED.format(pair[1].label) for pair, gates in zip(pairs, gated, strict=True) if not gates),
        ),
        confidence=confidence,
        settings=settings,
    )


def _choose_gated(
    baseline: Side, candidate: Side, settings: ComparisonSettings
) -> tuple[ComparedQuantity, ...]:
    if settings.metrics:
        return settings.metrics
    return tuple(metric for metric in GATED if baseline.find(metric) or candidate.find(metric))


def _compare(
    baseline: Side, candidate: Side, settings: ComparisonSettings, gated: Sequence[ComparedQuantity]
) -> Iterator[MetricComparison]:
    """Compare each metric that is gated, or measured on both sides."""
    for metric in METRICS:
        line = compare_quantity(metric, baseline, candidate, settings)
        if metric in gated:
            yield line
        elif line.baseline is not None and line.candidate is not None:
            yield line.replace(gate=None)


def _describe(side: Side) -> SideFacts:
    by_kind = {each.job.scenario.kind: each for each in side.measurements}
    return SideFacts(
        label=side.label,
        keys={kind: each.job.key for kind, each in by_kind.items()},
        attempts={kind: each.attempt for kind, each in by_kind.items()},
        measured_at={kind: each.measured_at for kind, each in by_kind.items()},
    )


def _conclude(gates: Sequence[GateResult], lacking: Sequence[str]) -> GateResult:
    if "fail" in gates:
        return "fail"
    return "cannot tell" if lacking or not gates or "cannot tell" in gates else "pass"
