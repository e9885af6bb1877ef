"""Decision rules: constraints that a winner must meet, and objectives that rank the candidates."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bakeoff.record import Record

Basis = Literal["production", "reference"]


class QualityFloor(Record):
    """Minimum F1 of a candidate.

    Attributes:
        at_least: Minimum F1 on the test documents; the lower end of the interval must reach it.
    """

    kind: Literal["quality"]
    at_least: Annotated[float, Field(ge=0, le=1)]


class QualityDrop(Record):
    """Maximum loss of F1 against another candidate: ``quality ≥ production − 0.005``.

    Attributes:
        against: ``production`` is the registry version that ``@champion`` names, if it was measured;
            ``reference`` is the first candidate.
        at_most: Maximum loss of F1; 0.005 is half a point. The whole interval of the difference, over the
            same documents, must stay within it.
    """

    kind: Literal["quality_drop"]
    against: Basis = "production"
    at_most: Annotated[float, Field(ge=0, le=1)]


class LatencyLimit(Record):
    """Maximum latency of a candidate.

    Attributes:
        batch_size: Batch size of the latency; it must be among those that are measured.
        quantile: Quantile of the latency.
        at_most_ms: Maximum latency in ms; the upper end of the interval must not exceed it.
    """

    kind: Literal["latency"]
    batch_size: Annotated[int, Field(ge=1)] = 1
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.95
    at_most_ms: Annotated[float, Field(gt=0)]


class MemoryLimit(Record):
    """Maximum memory of a candidate: the peak of the timed calls, minus the peak after the imports.

    Attributes:
        at_most_bytes: Maximum memory in bytes; the process that takes the most must not exceed it.
    """

    kind: Literal["memory"]
    at_most_bytes: Annotated[int, Field(ge=1)]


class ThroughputFloor(Record):
    """Minimum throughput of a candidate; the throughput scenario must be measured.

    Attributes:
        at_least_per_s: Minimum documents per second; the lower end of the interval must reach it.
    """

    kind: Literal["throughput"]
    at_least_per_s: Annotated[float, Field(gt=0)]


class ServerRateFloor(Record):
    """Minimum rate that a candidate sustains in the first server scenario that is measured.

    Attributes:
        at_least_per_s: Minimum requests per second; the lower end of the interval must reach it.
    """

    kind: Literal["server_rate"]
    at_least_per_s: Annotated[float, Field(gt=0)]


Constraint = Annotated[
    QualityFloor | QualityDrop | LatencyLimit | MemoryLimit | ThroughputFloor | ServerRateFloor,
    Field(discriminator="kind"),
]


class Weights(Record):
    """Weights of quality and latency in the score; bakeoff divides them by their sum.

    Attributes:
        quality: Weight of F1.
        latency: Weight of latency.
    """

    quality: Annotated[float, Field(ge=0)] = 0.8
    latency: Annotated[float, Field(ge=0)] = 0.2

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.quality + self.latency <= 0:
            raise ValueError("set at least one weight above 0")
        return self

    @property
    def quality_share(self) -> float:
        """Weight of quality in [0, 1]; latency has the rest to 1."""
        return self.quality / (self.quality + self.latency)


class QualityAnchors(Record):
    """Two F1 values that fix the scale of quality, which is linear and continues beyond both.

    Attributes:
        zero: F1 that scores 0.
        one: F1 that scores 1.
    """

    zero: Annotated[float, Field(ge=0, le=1)]
    one: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _more_is_better(self) -> Self:
        if self.one <= self.zero:
            raise ValueError("set `one` above `zero`: more F1 is better")
        return self


class LatencyAnchors(Record):
    """Two latencies that fix the scale of latency, which is logarithmic and continues beyond both.

    Attributes:
        zero: Latency in ms that scores 0.
        one: Latency in ms that scores 1.
    """

    zero: Annotated[float, Field(gt=0)]
    one: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _less_is_better(self) -> Self:
        if self.one >= self.zero:
            raise ValueError("set `one` below `zero`: less latency is better")
        return self


class Anchors(Record):
    """Values that score 0 and 1. You know them beforehand; they are never the worst and best candidate.

    Attributes:
        quality: Anchors of F1.
        latency_ms: Anchors of latency, in ms.
    """

    quality: QualityAnchors
    latency_ms: LatencyAnchors


class Weighted(Record):
    """Weighted score of quality and latency: the best score wins.

    Without anchors, the score is the weighted geometric mean of two ratios to the reference candidate. With
    anchors, it is the weighted mean of two values that are 0 and 1 at the anchors.

    Attributes:
        weights: Weights of quality and latency.
        anchors: Values that score 0 and 1; null takes ratios to the reference.
    """

    kind: Literal["weighted"] = "weighted"
    weights: Weights = Weights()
    anchors: Anchors | None = None


class Lexicographic(Record):
    """Quality first: of the candidates about as accurate as the best, the fastest wins.

    Attributes:
        accuracy_threshold: Loss of F1 that still counts as equally accurate.
        threshold_scale: ``absolute`` in F1, or ``relative`` to the F1 of the most accurate candidate.
    """

    kind: Literal["lexicographic"]
    accuracy_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.005
    threshold_scale: Literal["absolute", "relative"] = "absolute"


class Cost(Record):
    """Least money per million wins, among candidates that meet the constraints. Set a quality floor, too.

    Attributes:
        per: ``documents``, one call after the other in batches of the decision's size; or ``requests``, at
            the highest rate that the server scenario found.
    """

    kind: Literal["cost"]
    per: Literal["documents", "requests"] = "documents"


Objective = Annotated[Weighted | Lexicographic | Cost, Field(discriminator="kind")]
