"""Settings of the timing protocol: durations, repeats, and the interval widths at which a heat may stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bakeoff.record import Record

NS_PER_S = 1_000_000_000
# Shorter calls are timed several at a time: the clock itself costs about 0.1 µs.
SHORTEST_SAMPLE_NS = 100_000

# What ends a heat: the decision that it is for, or the targets of all intervals.
Until = Literal["decided", "intervals"]
DECIDED: Until = "decided"
INTERVALS: Until = "intervals"

Share = Annotated[float, Field(gt=0, lt=1)]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {"min_repeats": 3, "max_repeats": 5, "time_budget_s": 60.0, "warmup_max_s": 5.0},
    "standard": {},
    "rigorous": {
        "min_repeats": 10,
        "max_repeats": 40,
        "time_budget_s": 1800.0,
        "targets": {"p50": 0.01, "p95": 0.05, "p99": 0.10, "ratio": 0.01},
    },
}


class Targets(Record):
    """Half-widths of 95 % intervals at which a heat may stop, relative to the value; null sets no target.

    Attributes:
        p50: Target for the median latency.
        p95: Target for the 95th percentile.
        p99: Target for the 99th percentile.
        ratio: Target for the ratio to the reference candidate.
    """

    p50: Share | None = 0.02
    p95: Share | None = 0.05
    p99: Share | None = 0.10
    ratio: Share | None = 0.015

    @property
    def quantiles(self) -> list[tuple[str, float, float]]:
        """Name, p and target of each quantile that has a target."""
        asked = (("p50", 0.5, self.p50), ("p95", 0.95, self.p95), ("p99", 0.99, self.p99))
        return [(name, p, target) for name, p, target in asked if target is not None]


def _add_shorthands(schema: dict[str, Any]) -> None:
    """Add the shorthands to the schema, though they are replaced before the fields are read."""
    count = schema["properties"]["min_repeats"]
    schema["properties"] |= {
        "preset": {
            "enum": list(PRESETS),
            "type": "string",
            "default": "standard",
            "description": "Set of values for the other settings; settings next to it override them.",
        },
        "processes": {
            **{word: count[word] for word in ("minimum", "maximum", "type")},
            "description": "Number of repeats: sets both `min_repeats` and `max_repeats`.",
        },
    }


class TimingProtocol(Record):
    """Timing of scenarios; every setting is part of the benchmark key.

    ``preset: quick`` (or ``standard``, ``rigorous``) sets the preset's values, and settings next to it
    override them. ``processes: N`` sets N repeats.

    Attributes:
        version: Version of the protocol.
        min_repeats: Minimum number of repeats, each a fresh process of every candidate; fewer than 5 are
            flagged.
        max_repeats: Maximum number of repeats; twice as many if some do not count, as the CPUs were far
            apart.
        rounds: Rounds in a repeat, without the extra rounds that replace disturbed ones.
        block_s: Target length of a block, in seconds.
        min_calls: Minimum number of timed calls in a block.
        max_calls: Maximum number of timed calls in a block.
        iterations: Minimum number of timed calls of a variant, such as a batch size, over
            ``min_repeats`` repeats; 0 sets no minimum.
        warmup_iterations: Minimum number of calls in a warm-up.
        warmup_min_s: Minimum warm-up time of a process, in seconds; its variants share it.
        warmup_max_s: Maximum warm-up time of a variant, in seconds; the warm-up then ends and is flagged.
        time_budget_s: Time budget of a heat, in seconds. After ``min_repeats`` repeats, no repeat starts that
            would not fit. If 1.5 times the budget is spent before, no further repeat starts.
        targets: Interval widths at which a heat may stop.
        seed: Seed of all shuffling.
    """

    model_config = Record.model_config | {"json_schema_extra": _add_shorthands}
    shorthands: ClassVar[tuple[str, ...]] = ("preset", "processes")

    version: Literal[2] = 2
    min_repeats: Annotated[int, Field(ge=1, le=100)] = 5
    max_repeats: Annotated[int, Field(ge=1, le=100)] = 20
    rounds: Annotated[int, Field(ge=1, le=1000)] = 10
    block_s: Annotated[float, Field(gt=0, le=10)] = 0.05
    min_calls: Annotated[int, Field(ge=1, le=10_000)] = 5
    max_calls: Annotated[int, Field(ge=1, le=100_000)] = 200
    iterations: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    warmup_iterations: Annotated[int, Field(ge=0, le=100_000)] = 0
    warmup_min_s: Annotated[float, Field(ge=0, le=600)] = 0.5
    warmup_max_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    time_budget_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    targets: Targets = Targets()
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        given = dict(values)
        preset = given.pop("preset", None)
        if preset is not None and not (isinstance(preset, str) and preset in PRESETS):
            raise ValueError(f"preset {preset!r} is unknown; expected one of {', '.join(PRESETS)}")
        processes = given.pop("processes", None)
        exact = {} if processes is None else {"min_repeats": processes, "max_repeats": processes}
        return {**PRESETS.get(str(preset), {}), **exact, **given}

    @model_validator(mode="after")
    def _least_is_not_above_most(self) -> Self:
        for least, most in (("min_repeats", "max_repeats"), ("min_calls", "max_calls")):
            if getattr(self, least) > getattr(self, most):
                raise ValueError(
                    f"{least} {getattr(self, least)} is above {most} {getattr(self, most)}; "
                    f"lower {least} or raise {most}"
                )
        return self

    def samples_per_block(self, median_ns: float, least: int | None = None) -> int:
        """Return the number of timed samples in a block, from the length of a call.

        Args:
            median_ns: Median time of one call, in ns.
            least: Minimum number of samples, instead of ``min_calls``.
        """
        wanted = math.ceil(self.block_s * NS_PER_S / max(median_ns, SHORTEST_SAMPLE_NS))
        asked = math.ceil(self.iterations / (self.min_repeats * self.rounds))
        return max(min(max(wanted, least or self.min_calls), self.max_calls), asked)
