"""Decision rules: constraints that a winner must meet, and objectives that rank the candidates."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bakeoff.record import Record

Basis = Literal["production", "reference"]


class QualityFloor(Record):
    """Least quality of a candidate, in units of the metric: set one of the two.

    Attributes:
        at_least: Minimum of a metric of which more is better; the lower end of the interval must reach it.
        at_most: Maximum of a metric of which less is better; the upper end of the interval must not exceed
            it.
    """

    kind: Literal["quality"]
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("set exactly one of `at_least` and `at_most`")
        return self


class QualityDrop(Record):
    """Maximum loss of quality against another candidate: ``F1 ≥ production − 0.005``.

    Attributes:
        against: ``production`` is the registry version that ``@champion`` names, if it was measured;
            ``reference`` is the first candidate.
        at_most: Maximum loss in units of the metric; 0.005 is half a point of F1. A metric of which less is
            better may rise by as much. The whole interval of the difference, over the same documents, must
            stay within it.
    """

    kind: Literal["quality_drop"]
    against: Basis = "production"
    at_most: Annotated[float, Field(ge=0)]


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
        quality: Weight of quality.
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
    """Two values of the metric that fix the scale of quality, which is linear and continues beyond both.

    Attributes:
        zero: Value that scores 0.
        one: Value that scores 1; it must be the better one.
    """

    zero: float
    one: float

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.one == self.zero:
            raise ValueError("set `one` to a better value than `zero`")
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
        quality: Anchors of quality, in units of the metric.
        latency_ms: Anchors of latency, in ms.
    """

    quality: QualityAnchors
    latency_ms: LatencyAnchors


class BaseObjective(Record):
    """Rule that ranks the candidates.

    Attributes:
        needs_quality: Whether only candidates with a quality measurement are ranked.
    """

    needs_quality: ClassVar[bool] = True


class Weighted(BaseObjective):
    """Weighted score of quality and latency: the best score wins.

    Without anchors, the score is the weighted geometric mean of two ratios to the reference candidate. Where
    less is better, for latency and errors, the ratio is inverse. A correlation of 0 or less has no ratio, so
    it needs anchors. With anchors, the score is the weighted mean of two values that are 0 and 1 at the
    anchors.

    Attributes:
        weights: Weights of quality and latency.
        anchors: Values that score 0 and 1; null takes ratios to the reference.
    """

    kind: Literal["weighted"] = "weighted"
    weights: Weights = Weights()
    anchors: Anchors | None = None


class Lexicographic(BaseObjective):
    """Quality first: of the candidates about as accurate as the best, the fastest wins.

    Attributes:
        accuracy_threshold: Loss of quality that still counts as equally accurate. The default suits a metric
            in [0, 1]; for an error in units of a target, set it.
        threshold_scale: ``absolute`` in units of the metric, or ``relative`` to the quality of the most
            accurate candidate.
    """

    kind: Literal["lexicographic"]
    accuracy_threshold: Annotated[float, Field(ge=0)] = 0.005
    threshold_scale: Literal["absolute", "relative"] = "absolute"

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if self.threshold_scale == "relative" and self.accuracy_threshold >= 1:
            raise ValueError("set accuracy_threshold below 1: a relative one is a share of the best quality")
        return self


class Cost(BaseObjective):
    """Least money per million wins, among candidates that meet the constraints. Set a quality floor, too.

    Attributes:
        per: ``documents``, one call after the other in batches of the decision's size; or ``requests``, at
            the highest rate that the server scenario found.
    """

    kind: Literal["cost"]
    per: Literal["documents", "requests"] = "documents"


class Fastest(BaseObjective):
    """Least latency wins, among candidates that meet the constraints. It needs no quality measurement.

    Quality is shown if it was measured, and does not count. Set a quality floor to make it count.
    """

    needs_quality: ClassVar[bool] = False

    kind: Literal["fastest"]


Objective = Annotated[Weighted | Lexicographic | Cost | Fastest, Field(discriminator="kind")]
