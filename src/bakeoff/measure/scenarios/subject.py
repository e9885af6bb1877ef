"""Subject of a scenario: a loaded model, and the documents that it reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.timing import Counters, NoCounters
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Batch, Encoder, Encoding
from bakeoff.measure.scenarios.batching import balance_order, draw_batches, shuffle_order
from bakeoff.measure.tasks import Document, Task
from bakeoff.measure.tasks.task import Prediction

NO_COUNTERS = NoCounters()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Everything that one process of one job works on.

    Attributes:
        session: Loaded model.
        checkpoint: Checkpoint of the model, with its labels.
        encoder: Tokenizer of the model.
        task: What the model does with a document.
        documents: Documents in a fixed order.
        encodings: The same documents as token ids.
        repeat: Number of this process among those of the job, from 0.
    """

    session: Session
    checkpoint: Checkpoint
    encoder: Encoder
    task: Task
    documents: tuple[Document, ...]
    encodings: tuple[Encoding, ...]
    repeat: int

    def batch(self, rows: list[int]) -> Batch:
        """Return some of the documents as a batch, padded to the longest of them."""
        return self.encoder.pad([self.encodings[row] for row in rows])

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Label of each output of the model."""
        return self.task.name_outputs(self.checkpoint.labels)

    def size_of(self, row: int) -> int:
        """Return the size of a document, by which documents of one batch are chosen: its tokens."""
        return len(self.encodings[row].ids)

    def predict(self, rows: list[int]) -> list[Prediction]:
        """Predict some of the documents, in one call, from their token ids."""
        return self._predict([self.encodings[row] for row in rows])

    def answer(self, documents: Sequence[Document]) -> list[Prediction]:
        """Predict documents in one call; tokenisation is part of it."""
        return self._predict([self.task.encode(self.encoder, document) for document in documents])

    def _predict(self, encodings: Sequence[Encoding]) -> list[Prediction]:
        logits = self.session.infer(self.encoder.pad(encodings))
        return self.task.read_predictions(logits, encodings, self.labels)


@dataclass(frozen=True, kw_only=True)
class TimedSubject(Subject):
    """Everything that one process of one timed job works on.

    Attributes:
        protocol: Timing settings.
        lengths: Length of each document, which decides the order: the same for all candidates and tokenizers.
        clock: Clock of a scenario that runs alone, in ns.
        sleep_s: Sleeps for so many seconds of that clock.
        cpu_clock: CPU time of this process, in ns.
        counters: System counters during the measurement.
    """

    protocol: TimingProtocol
    lengths: tuple[int, ...]
    clock: Callable[[], int] = time.perf_counter_ns
    sleep_s: Callable[[float], object] = time.sleep
    cpu_clock: Callable[[], int] = time.process_time_ns
    counters: Counters = NO_COUNTERS

    @cached_property
    def order(self) -> list[int]:
        """This repeat's order of the texts, the same for all candidates."""
        return balance_order(self.lengths, self._seed)

    @cached_property
    def arrivals(self) -> list[int]:
        """This repeat's texts in random order of arrival, the same for all candidates."""
        return shuffle_order(len(self.documents), self._seed)

    def draw_batches(self, size: int) -> list[list[int]]:
        """Draw this repeat's batches of so many texts, the same for all candidates."""
        return draw_batches(self.lengths, size, self._seed)

    @property
    def _seed(self) -> str:
        return f"{self.protocol.seed}:{self.repeat}"
