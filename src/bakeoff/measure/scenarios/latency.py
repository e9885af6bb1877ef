"""Latency: service time of one call, closed loop, at each batch size, over texts of real lengths."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, field_validator

from bakeoff.measure.encoding import Batch
from bakeoff.measure.protocol import Timing, time_variants
from bakeoff.measure.readings import Reading
from bakeoff.measure.subject import Subject
from bakeoff.record import Record

LATENCY = "latency"
FIRST_CALL = "first_call"
BatchSize = Annotated[int, Field(ge=1, le=4096)]


class Latency(Record):
    """Time from padded tensors handed over to logits in host memory.

    Attributes:
        batch_sizes: Documents a call.
    """

    kind: Literal["latency"] = "latency"
    batch_sizes: Annotated[tuple[BatchSize, ...], Field(min_length=1)] = (1, 8)

    @field_validator("batch_sizes")
    @classmethod
    def _sort(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(sizes)) != len(sizes):
            raise ValueError("a batch size stands twice")
        return tuple(sorted(sizes))

    @property
    def is_timed(self) -> bool:
        """Timed scenarios are repeated in several fresh processes."""
        return True

    def measure(self, subject: Subject) -> tuple[Reading, ...]:
        """Time every batch size in this process."""
        if subject.protocol is None:
            raise ValueError("latency needs a timing protocol")
        order = list(range(len(subject.encodings)))
        random.Random(f"{subject.protocol.seed}:{subject.generation}").shuffle(order)  # noqa: S311
        batches = {size: _batches(subject, order, size) for size in self.batch_sizes}
        timings = time_variants(
            {size: _work(subject, rows) for size, rows in batches.items()},
            subject.protocol,
            generation=subject.generation,
        )
        return tuple(
            reading
            for size, timing in timings.items()
            for reading in _readings(size, timing, batches[size], subject.generation)
        )


def _batches(subject: Subject, order: list[int], size: int) -> list[Batch]:
    """Batches made before any timing, in this generation's order of the texts; the last one wraps around."""
    rounded = order + order[: -len(order) % size]
    while len(rounded) < size:
        rounded += order
    return [
        subject.encoder.pad([subject.encodings[i] for i in rounded[start : start + size]])
        for start in range(0, len(rounded) - size + 1, size)
    ]


def _work(subject: Subject, batches: list[Batch]) -> Callable[[int], object]:
    infer, count = subject.session.infer, len(batches)
    return lambda call: infer(batches[call % count])


def _readings(size: int, timing: Timing, batches: list[Batch], generation: int) -> tuple[Reading, ...]:
    at = {"batch_size": size}
    used = [batches[sample.call % len(batches)] for sample in timing.samples]
    return (
        Reading(
            quantity=LATENCY,
            unit="ns",
            at=at,
            values=tuple(float(sample.wall_ns) for sample in timing.samples),
            generations=tuple(generation for _ in timing.samples),
            columns={
                "cpu_ns": tuple(sample.cpu_ns for sample in timing.samples),
                "round": tuple(sample.round for sample in timing.samples),
                "batch": tuple(sample.call % len(batches) for sample in timing.samples),
                "n_tokens": tuple(batch.n_tokens for batch in used),
                "n_padded_tokens": tuple(batch.n_padded_tokens for batch in used),
            },
        ),
        Reading(
            quantity=FIRST_CALL,
            unit="ns",
            at=at,
            values=(float(timing.first_call_ns),),
            generations=(generation,),
            columns={"warmup_ns": (timing.warmup_ns,), "is_steady": (int(timing.is_steady),)},
        ),
    )
