"""The gate: the verdict on a change with its interval, and whether it may pass.

Every change is on one scale, the *regression*: above 0 is worse. For times, memory and size it is the
logarithm of candidate over baseline; for quality, the loss: in points for a metric between 0 and 1 of which
more is better, in units of the metric for any other.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from bakeoff.core.comparison.ratio import RatioBasis
from bakeoff.core.estimate import Estimate
from bakeoff.core.quality import QualityMetric
from bakeoff.core.records import Measurement
from bakeoff.measure.statistics.intervals import MEDIAN
from bakeoff.record import Record

ComparedQuantity = Literal["latency", "throughput", "quality", "memory", "size"]
ChangeVerdict = Literal["better", "worse", "equivalent", "cannot tell"]
GateResult = Literal["pass", "fail", "cannot tell"]
METRICS: tuple[ComparedQuantity, ...] = ("latency", "throughput", "quality", "memory", "size")
POINTS = 100  # a share in points
DEFAULT_POINTS = 1.0


class ComparisonSettings(Record):
    """Margins, place and confidence of a comparison.

    Attributes:
        margin: Allowed increase of time, memory or size; 0.05 is 5 %.
        quality_margin: Allowed loss of quality: in points, of 100, for a metric between 0 and 1 of which more
            is better; in units of the metric for any other. Null allows 1 point, or nothing.
        quality_metric: Metric of quality, one of the task's; null takes the task's first.
        metrics: Metrics that the gate checks; empty means latency and quality, as far as they are measured.
        batch_size: Batch size of the latency.
        quantile: Quantile of the latency.
        confidence: Confidence with which all intervals hold together.
        resamples: Resamples of the bootstrap over documents.
        seed: Seed of the bootstrap.
        allow_unlike_environments: Whether to compare absolute times of different environments, or of sessions
            without a common reference.
    """

    margin: Annotated[float, Field(ge=0, le=10)] = 0.05
    quality_margin: Annotated[float, Field(ge=0)] | None = None
    quality_metric: str | None = None
    metrics: tuple[ComparedQuantity, ...] = ()
    batch_size: Annotated[int, Field(ge=1)] = 1
    quantile: Annotated[float, Field(gt=0, lt=1)] = MEDIAN
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 2000
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    allow_unlike_environments: bool = False


class Side(NamedTuple):
    """One candidate with its measurements."""

    label: str
    measurements: tuple[Measurement, ...]
    # Reasons why measurements are missing, a line each.
    lacking: tuple[str, ...] = ()

    def find(self, kind: str) -> Measurement | None:
        """Find its measurement of a scenario, or return None."""
        return next((each for each in self.measurements if each.job.scenario.kind == kind), None)


class MetricComparison(Record):
    """One quantity of both sides.

    Attributes:
        what: Name for tables: ``latency p50, batch 1``.
        unit: Unit of baseline and candidate.
        quality: Metric of quality; None in a line of another quantity, or without measurements.
        scale: Ratio, candidate over baseline; or candidate minus baseline, in points of a share or in units
            of the metric.
        margin: Allowed loss of quality on that scale; None in a line of another quantity.
        change: Change with its interval; for memory, the interval spans all processes.
        basis: Ground of the comparison; None without a change.
        gate: Result of the gate; None if the gate does not check this metric.
        remark: Reason why the verdict is missing, or a limit of the interval.
    """

    metric: ComparedQuantity
    what: str
    unit: Literal["ms", "quality", "bytes"]
    quality: QualityMetric | None = None
    baseline: Estimate | None = None
    candidate: Estimate | None = None
    scale: Literal["ratio", "points", "units"] = "ratio"
    margin: float | None = None
    change: Estimate | None = None
    basis: RatioBasis | Literal["same documents", "process by process"] | None = None
    verdict: ChangeVerdict = "cannot tell"
    gate: GateResult | None = "cannot tell"
    remark: str = ""


def judge_regression(low: float, high: float, margin: float) -> ChangeVerdict:
    """Judge the interval of a regression; a certain difference counts, however small it is."""
    if low > 0:
        return "worse"
    if high < 0:
        return "better"
    return "equivalent" if -margin <= low and high <= margin else "cannot tell"


def gate_regression(low: float, high: float, margin: float) -> GateResult:
    """Return ``fail`` if the whole interval is past the margin, and ``pass`` if none of it is."""
    if low > margin:
        return "fail"
    return "pass" if high <= margin else "cannot tell"
