"""Criteria: what a winner must meet, and by what the best of those who meet it is told."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bakeoff.record import Record

Basis = Literal["production", "reference"]


class QualityFloor(Record):
    """A candidate must be at least this good.

    Attributes:
        at_least: F1 on the test documents that the lower end of its interval must reach.
    """

    kind: Literal["quality"]
    at_least: Annotated[float, Field(ge=0, le=1)]


class QualityDrop(Record):
    """A candidate must be hardly worse than another one: ``quality ≥ production − 0.005``.

    Attributes:
        against: ``production`` is what the alias ``@champion`` names in the registry, if it is among the
            measured; ``reference`` is the first candidate.
        at_most: By how much F1 may be less (0.005 is half a point); the whole interval of the difference over
            the same documents must be above it.
    """

    kind: Literal["quality_drop"]
    against: Basis = "production"
    at_most: Annotated[float, Field(ge=0, le=1)]


class LatencyLimit(Record):
    """A candidate must be at least this fast.

    Attributes:
        batch_size: At which latency is looked at; it must be one that is measured.
        quantile: Of the latency.
        at_most_ms: That the upper end of its interval must not pass.
    """

    kind: Literal["latency"]
    batch_size: Annotated[int, Field(ge=1)] = 1
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.95
    at_most_ms: Annotated[float, Field(gt=0)]


class MemoryLimit(Record):
    """A candidate must need no more memory: the peak of the timed calls, minus that after the imports.

    Attributes:
        at_most_bytes: The limit.
    """

    kind: Literal["memory"]
    at_most_bytes: Annotated[int, Field(ge=1)]


class ThroughputFloor(Record):
    """A candidate must answer so many documents per second; the throughput scenario must be measured.

    Attributes:
        at_least_per_s: Documents per second that the lower end of its interval must reach.
    """

    kind: Literal["throughput"]
    at_least_per_s: Annotated[float, Field(gt=0)]


class ServerRateFloor(Record):
    """A candidate must sustain so many requests per second; of the first server scenario that is measured.

    Attributes:
        at_least_per_s: Requests per second that the lower end of its interval must reach.
    """

    kind: Literal["server_rate"]
    at_least_per_s: Annotated[float, Field(gt=0)]


Constraint = Annotated[
    QualityFloor | QualityDrop | LatencyLimit | MemoryLimit | ThroughputFloor | ServerRateFloor,
    Field(discriminator="kind"),
]


class Weights(Record):
    """How much each side counts in the score; they are divided by their sum.

    Attributes:
        quality: Share of F1.
        latency: Share of latency.
    """

    quality: Annotated[float, Field(ge=0)] = 0.8
    latency: Annotated[float, Field(ge=0)] = 0.2

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.quality + self.latency <= 0:
            raise ValueError("at least one weight must be above 0")
        return self

    @property
    def quality_share(self) -> float:
        """What quality counts; latency counts the rest to 1."""
        return self.quality / (self.quality + self.latency)


class QualityAnchors(Record):
    """Two values of F1 that fix its scale, which is linear and goes on beyond both.

    Attributes:
        zero: F1 that counts 0.
        one: F1 that counts 1.
    """

    zero: Annotated[float, Field(ge=0, le=1)]
    one: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _more_is_better(self) -> Self:
        if self.one <= self.zero:
            raise ValueError("F1 that counts 1 must be above F1 that counts 0")
        return self


class LatencyAnchors(Record):
    """Two latencies that fix their scale, which is logarithmic and goes on beyond both.

    Attributes:
        zero: Milliseconds that count 0.
        one: Milliseconds that count 1.
    """

    zero: Annotated[float, Field(gt=0)]
    one: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _less_is_better(self) -> Self:
        if self.one >= self.zero:
            raise ValueError("the latency that counts 1 must be below the one that counts 0")
        return self


class Anchors(Record):
    """Values that count 0 and 1, by the user's own knowledge: never the worst and best of the candidates.

    Attributes:
        quality: Of F1.
        latency_ms: Of latency, in milliseconds.
    """

    quality: QualityAnchors
    latency_ms: LatencyAnchors


class Weighted(Record):
    """The best score wins.

    Without anchors the score is the weighted geometric mean of two ratios to the reference candidate; with
    them the weighted mean of two values that are 0 and 1 at the anchors.

    Attributes:
        weights: Of quality and latency.
        anchors: Null takes ratios to the reference.
    """

    kind: Literal["weighted"] = "weighted"
    weights: Weights = Weights()
    anchors: Anchors | None = None


class Lexicographic(Record):
    """Quality first: of all that are hardly worse than the most accurate, the fastest wins.

    Attributes:
        accuracy_threshold: How much less F1 still counts as equally accurate.
        threshold_scale: ``absolute`` in F1, or ``relative`` to the F1 of the most accurate.
    """

    kind: Literal["lexicographic"]
    accuracy_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.005
    threshold_scale: Literal["absolute", "relative"] = "absolute"


class Cost(Record):
    """The least money per million wins, of those that meet the constraints; set a quality floor beside it.

    Attributes:
        per: ``documents`` one call after the other in batches of the decision's size, or ``requests`` at the
            highest rate that the server scenario found.
    """

    kind: Literal["cost"]
    per: Literal["documents", "requests"] = "documents"


Objective = Annotated[Weighted | Lexicographic | Cost, Field(discriminator="kind")]
