"""The gate: what a change with its interval says, and whether it may pass.

Every change is put on one scale, the *loss*: above 0 is worse. Of times, memory and size it is the logarithm
of candidate over baseline, of quality the points of F1 that are lost.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from bakeoff.core.comparison.ratio import RatioBasis
from bakeoff.core.estimate import Estimate
from bakeoff.core.records import Measurement
from bakeoff.measure.statistics.intervals import MEDIAN
from bakeoff.record import Record

Metric = Literal["latency", "throughput", "quality", "memory", "size"]
ChangeVerdict = Literal["better", "worse", "equivalent", "cannot tell"]
GateResult = Literal["pass", "fail", "cannot tell"]
METRICS: tuple[Metric, ...] = ("latency", "throughput", "quality", "memory", "size")
POINTS = 100  # F1 in points


class ComparisonSettings(Record):
    """How two candidates are compared.

    Attributes:
        margin: By how much more time, memory or size may be taken; 0.05 is 5 %.
        quality_margin: How many points of F1, of 100, may be lost.
        metrics: What the gate looks at; empty stands for latency and quality, as far as they are measured.
        batch_size: At which latency is compared.
        quantile: Of the latency.
        confidence: With which all intervals hold together.
        resamples: Of the bootstrap over documents.
        seed: Of the bootstrap.
        allow_unlike_environments: Compare absolute times of unlike environments or unjoined sessions.
    """

    margin: Annotated[float, Field(ge=0, le=10)] = 0.05
    quality_margin: Annotated[float, Field(ge=0, le=POINTS)] = 1.0
    metrics: tuple[Metric, ...] = ()
    batch_size: Annotated[int, Field(ge=1)] = 1
    quantile: Annotated[float, Field(gt=0, lt=1)] = MEDIAN
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 2000
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    allow_unlike_environments: bool = False


class Side(NamedTuple):
    """A candidate with what is measured of it.

    Attributes:
        lacking: Why a measurement that belongs here is not at hand, a line each.
    """

    label: str
    measurements: tuple[Measurement, ...]
    lacking: tuple[str, ...] = ()

    def find(self, kind: str) -> Measurement | None:
        """Its measurement of a scenario, or None."""
        return next((each for each in self.measurements if each.job.scenario.kind == kind), None)


class MetricComparison(Record):
    """One quantity of both.

    Attributes:
        what: For eyes: ``latency p50, batch 1``.
        unit: Of baseline and candidate.
        scale: Of the change: a ratio, candidate over baseline, or points of F1, candidate minus baseline.
        change: With its interval; of memory the interval is the span over all processes.
        basis: How the change was had; None where there is none.
        gate: None where the gate does not look at this.
        remark: Why nothing can be told, or what the interval does not hold.
    """

    metric: Metric
    what: str
    unit: Literal["ms", "F1", "bytes"]
    baseline: Estimate | None = None
    candidate: Estimate | None = None
    scale: Literal["ratio", "points"] = "ratio"
    change: Estimate | None = None
    basis: RatioBasis | Literal["same documents", "process by process"] | None = None
    verdict: ChangeVerdict = "cannot tell"
    gate: GateResult | None = "cannot tell"
    remark: str = ""


def judge_regression(low: float, high: float, margin: float) -> ChangeVerdict:
    """What an interval of a loss allows to say; a difference that is certain is told, however small."""
    if low > 0:
        return "worse"
    if high < 0:
        return "better"
    return "equivalent" if -margin <= low and high <= margin else "cannot tell"


def gate_regression(low: float, high: float, margin: float) -> GateResult:
    """``fail`` only where the whole interval is past the margin, ``pass`` only where none of it is."""
    if low > margin:
        return "fail"
    return "pass" if high <= margin else "cannot tell"
