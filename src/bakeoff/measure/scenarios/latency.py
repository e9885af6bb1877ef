"""Latency: service time of one call in a closed loop, at each batch size, over texts of real lengths."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from bakeoff.measure.heats.timing import Variant
from bakeoff.measure.scenarios.subject import Region, TimedSubject
from bakeoff.measure.statistics.readings import LATENCY
from bakeoff.measure.system.memory import CacheFlush
from bakeoff.record import Record

BatchSize = Annotated[int, Field(ge=1, le=4096)]


class Latency(Record):
    """Service time of one call.

    Attributes:
        batch_sizes: Documents per call; each size is measured.
        region: Part of a call that is timed. ``model`` is from padded tensors to logits in host memory;
            ``end_to_end`` is from a document to its prediction, tokenisation included. It holds for all
            candidates as soon as one of them reads rows. Tokenisation alone is always measured too.
        padding: Padding of a batch; ``longest`` fills every row up to the longest one.
        cold_cache: Whether to overwrite the CPU's caches, untimed, before every timed call, as other work
            would. Otherwise a call follows similar calls.
    """

    kind: Literal["latency"] = "latency"
    batch_sizes: Annotated[tuple[BatchSize, ...], Field(min_length=1)] = (1, 8)
    region: Region = "model"
    padding: Literal["longest"] = "longest"
    cold_cache: bool = False

    @model_serializer(mode="wrap")
    def _leave_out_what_is_new(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit a newer field at its default, so that earlier keys stay the same."""
        written: dict[str, Any] = write(self)
        if not self.cold_cache:
            written.pop("cold_cache", None)  # it may be absent already
        return written

    @field_validator("batch_sizes")
    @classmethod
    def _sort(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(sizes)) != len(sizes):
            raise ValueError("duplicate batch size; list each size once")
        return tuple(sorted(sizes))

    @property
    def needs_labels(self) -> bool:
        """Whether the documents must be labelled: no, the text is enough."""
        return False

    @property
    def call_sizes(self) -> tuple[int, ...]:
        """Documents per call, for which outputs are compared with PyTorch's before."""
        return self.batch_sizes

    @property
    def is_timed(self) -> bool:
        """Whether it is timed: in interleaved rounds, together with the other candidates."""
        return True

    @property
    def quantity(self) -> str:
        """Quantity that its calls measure."""
        return LATENCY

    def variants(self, subject: TimedSubject) -> tuple[Variant, ...]:
        """Return one variant per batch size; its batches are made before any timing."""
        return tuple(self._variant(subject, size) for size in self.batch_sizes)

    def _variant(self, subject: TimedSubject, size: int) -> Variant:
        calls = [subject.model.bind(numbers, self.region) for numbers in subject.draw_batches(size)]
        runs = [call.run for call in calls]
        return Variant(
            number=size,
            call=lambda number: runs[number](),
            n_tokens=tuple(call.n_tokens for call in calls),
            n_padded_tokens=tuple(call.n_padded_tokens for call in calls),
            n_documents=size,
            before=CacheFlush() if self.cold_cache else None,
        )
