"""What a scenario measures: a loaded model, and the documents that it is asked about."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.timing import Counters, NoCounters
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Batch, Encoder, Encoding
from bakeoff.measure.scenarios.batching import balance_order, draw_batches, shuffle_order
from bakeoff.measure.tasks.token_classification import Document

NO_COUNTERS = NoCounters()


@dataclass(frozen=True)
class Subject:
    """All that one process of one job works on.

    Attributes:
        session: The loaded model.
        checkpoint: Where it came from; names the labels.
        encoder: Its tokenizer.
        documents: What is asked, in a fixed order.
        encodings: The same documents as token ids.
        protocol: How to time; None for scenarios that are not timed.
        repeat: Number of this process among those of the job, from 0.
        lengths: Of each document, by which its order is made: the same for all candidates, whatever their
            tokenizers.
        clock: By which a scenario that runs on its own is timed, in ns.
        sleep_s: Gives the processor away for so many seconds of that clock.
        cpu_clock: CPU time of this process, in ns.
        counters: What the system counts beside it.
    """

    session: Session
    checkpoint: Checkpoint
    encoder: Encoder
    documents: tuple[Document, ...]
    encodings: tuple[Encoding, ...]
    protocol: TimingProtocol | None
    repeat: int
    lengths: tuple[int, ...]
    clock: Callable[[], int] = time.perf_counter_ns
    sleep_s: Callable[[float], object] = time.sleep
    cpu_clock: Callable[[], int] = time.process_time_ns
    counters: Counters = NO_COUNTERS

    @property
    def timing(self) -> TimingProtocol:
        """The protocol of a timed scenario.

        Raises:
            ValueError: This job is not timed.
        """
        if self.protocol is None:
            raise ValueError("a timed scenario needs a timing protocol")
        return self.protocol

    @cached_property
    def order(self) -> list[int]:
        """This repeat's order of the texts, the same for all candidates."""
        return balance_order(self.lengths, self._seed)

    @cached_property
    def arrivals(self) -> list[int]:
        """This repeat's texts as they arrive by chance, the same for all candidates."""
        return shuffle_order(len(self.documents), self._seed)

    def draw_batches(self, size: int) -> list[list[int]]:
        """This repeat's batches of so many texts, the same for all candidates."""
        return draw_batches(self.lengths, size, self._seed)

    def batch(self, rows: list[int]) -> Batch:
        """Some of the documents, padded to the longest of them."""
        return self.encoder.pad([self.encodings[row] for row in rows])

    @property
    def _seed(self) -> str:
        return f"{self.timing.seed}:{self.repeat}"
