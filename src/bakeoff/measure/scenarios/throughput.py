"""Throughput: documents per second offline, if all texts are at hand and only the total time counts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from bakeoff.measure.heats.timing import Variant
from bakeoff.measure.scenarios.batching import cut_batches
from bakeoff.measure.scenarios.latency import BatchSize
from bakeoff.measure.scenarios.subject import Region, TimedSubject
from bakeoff.measure.statistics.readings import PASS
from bakeoff.record import Record


class Throughput(Record):
    """Documents per second in large batches.

    Attributes:
        batch_size: Documents per call.
        region: Part of a call that is timed, as in the latency scenario.
        composition: Texts of a batch. ``by_length`` puts texts of similar length together, so that little is
            padding; ``mixed`` takes them at random.
        padding: Padding of a batch; ``longest`` fills every row up to the longest one.
    """

    kind: Literal["throughput"] = "throughput"
    batch_size: BatchSize = 32
    region: Region = "model"
    composition: Literal["by_length", "mixed"] = "by_length"
    padding: Literal["longest"] = "longest"

    @model_serializer(mode="wrap")
    def _leave_out_what_is_new(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit a newer field at its default, so that earlier keys stay the same."""
        written: dict[str, Any] = write(self)
        if self.region == "model":
            written.pop("region", None)  # it may be absent already
        return written

    @property
    def needs_labels(self) -> bool:
        """Whether the documents must be labelled: no, the text is enough."""
        return False

    @property
    def call_sizes(self) -> tuple[int, ...]:
        """Documents per call, for which outputs are compared with PyTorch's before."""
        return (self.batch_size,)

    @property
    def is_timed(self) -> bool:
        """Whether it is timed: in interleaved rounds, together with the other candidates."""
        return True

    @property
    def quantity(self) -> str:
        """Quantity that its calls measure."""
        return PASS

    def variants(self, subject: TimedSubject) -> tuple[Variant, ...]:
        """Return one variant: a call is a pass over all texts, so that every sample does the same work."""
        return (self._variant(subject),)

    def _variant(self, subject: TimedSubject) -> Variant:
        if self.composition == "by_length":
            order = sorted(subject.order, key=lambda row: subject.documents[row].length)
            rows = cut_batches(order, self.batch_size)
        else:
            rows = subject.draw_batches(self.batch_size)
        calls = [subject.model.bind(numbers, self.region) for numbers in rows]
        runs = [call.run for call in calls]

        def run_pass(_: int) -> None:
            for run in runs:
                run()

        return Variant(
            number=self.batch_size,
            call=run_pass,
            n_documents=len(calls) * self.batch_size,
            n_tokens=(sum(call.n_tokens for call in calls),),
            n_padded_tokens=(sum(call.n_padded_tokens for call in calls),),
            least_samples=1,
        )
