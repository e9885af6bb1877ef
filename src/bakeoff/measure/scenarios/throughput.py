"""Throughput: documents per second offline, if all texts are at hand and only the total time counts."""

from __future__ import annotations

from typing import Literal

from bakeoff.measure.heats.timing import Variant
from bakeoff.measure.scenarios.batching import cut_batches
from bakeoff.measure.scenarios.latency import BatchSize
from bakeoff.measure.scenarios.subject import TimedSubject
from bakeoff.measure.statistics.readings import PASS
from bakeoff.record import Record


class Throughput(Record):
    """Documents per second in large batches.

    Attributes:
        batch_size: Documents per call.
        composition: Texts of a batch. ``by_length`` puts texts of similar length together, so that little is
            padding; ``mixed`` takes them at random.
        padding: Padding of a batch; ``longest`` fills every row up to the longest one.
    """

    kind: Literal["throughput"] = "throughput"
    batch_size: BatchSize = 32
    composition: Literal["by_length", "mixed"] = "by_length"
    padding: Literal["longest"] = "longest"

    @property
    def needs_labels(self) -> bool:
        """Whether the documents must be labelled: no, the text is enough."""
        return False

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
        batches = [subject.batch(each) for each in rows]
        infer = subject.session.infer

        def run_pass(_: int) -> None:
            for batch in batches:
                infer(batch)

        return Variant(
            number=self.batch_size,
            call=run_pass,
            n_documents=len(batches) * self.batch_size,
            n_tokens=(sum(batch.n_tokens for batch in batches),),
            n_padded_tokens=(sum(batch.n_padded_tokens for batch in batches),),
            least_samples=1,
        )
