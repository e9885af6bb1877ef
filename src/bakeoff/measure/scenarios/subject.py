"""Subject of a scenario: a loaded model, and the documents that it reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np

from bakeoff.errors import CheckpointError
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.timing import Counters, NoCounters
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.session import RowSession, Session
from bakeoff.measure.model.tokenizer import Batch, Encoding
from bakeoff.measure.scenarios.batching import balance_order, draw_batches, shuffle_order
from bakeoff.measure.tasks import Document, Task
from bakeoff.measure.tasks.task import Logits, Prediction, TaskEncoder

# Part of a call that is timed: from padded tensors to logits in host memory, or from a document to its
# prediction, tokenisation included.
Region = Literal["model", "end_to_end"]
NO_COUNTERS = NoCounters()
N_FINITE_DOCUMENTS = 8  # whose outputs a given graph must show to be numbers, before it is timed
N_ALONE_DOCUMENTS, ALONE_BATCH = 64, 32  # that a given graph predicts alone and in batches


class BoundCall(NamedTuple):
    """A call on some documents, with what it needs at hand.

    Attributes:
        run: Makes the call.
        n_tokens: Tokens without padding; words, for a model that reads rows.
        n_padded_tokens: Tokens with padding.
    """

    run: Callable[[], object]
    n_tokens: int
    n_padded_tokens: int


@dataclass(frozen=True, kw_only=True)
class TensorModel:
    """Loaded model that reads tensors.

    Attributes:
        session: The model.
        checkpoint: Its checkpoint, with the labels.
        encoder: Makes its inputs of documents.
        task: What it does with a document.
        documents: Documents in a fixed order.
        encodings: The same documents as token ids.
    """

    session: Session
    checkpoint: Checkpoint
    encoder: TaskEncoder
    task: Task
    documents: tuple[Document, ...]
    encodings: tuple[Encoding, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Label of each output of the model."""
        return self.task.name_outputs(self.checkpoint.labels)

    @property
    def n_truncated(self) -> int:
        """Number of documents that were cut."""
        return sum(encoding.is_truncated for encoding in self.encodings)

    def size_of(self, number: int) -> int:
        """Return the size of a document: its tokens."""
        return len(self.encodings[number].ids)

    def list_preparations(self) -> list[Callable[[], object]]:
        """List the calls that make token ids, one a document, to time them; tensors need none."""
        if self.task.reads_tensors:
            return []
        return [partial(self.encoder.encode, document) for document in self.documents]

    def batch(self, numbers: Sequence[int]) -> Batch:
        """Return some of the documents as a batch, padded to the longest of them."""
        return self.encoder.pad([self.encodings[number] for number in numbers])

    def bind(self, numbers: Sequence[int], region: Region) -> BoundCall:
        """Prepare a call on some of the documents, up to the part that is timed."""
        batch = self.batch(numbers)
        run: Callable[[], object]
        if region == "model":
            run = partial(self.session.infer, batch)
        else:
            run = partial(self.answer, [self.documents[number] for number in numbers])
        return BoundCall(run, batch.n_tokens, batch.n_padded_tokens)

    def serve(self, numbers: Sequence[int], region: Region) -> object:
        """Answer requests for some of the documents, which form a batch only now."""
        if region == "model":
            return self.session.infer(self.batch(numbers))
        return self.answer([self.documents[number] for number in numbers])

    def predict(self, numbers: Sequence[int]) -> list[Prediction]:
        """Predict some of the documents, in one call, from their token ids.

        Raises:
            CheckpointError: An output is not a finite number, so the prediction means nothing.
        """
        encodings = [self.encodings[number] for number in numbers]
        batch = self.encoder.pad(encodings)
        logits = self.session.infer(batch)
        self._require_finite(batch, logits)
        return self.task.read_predictions(logits, encodings, self.labels)

    def require_finite(self) -> None:
        """Check the outputs of a given graph for some documents; those of a checkpoint were compared before.

        Raises:
            CheckpointError: One is not a finite number.
        """
        if self.checkpoint.graph is None:
            return
        for number in range(min(N_FINITE_DOCUMENTS, len(self.documents))):
            batch = self.batch([number])
            self._require_finite(batch, self.session.infer(batch))

    def require_same_alone(self) -> None:
        """Check that a given graph predicts a document alone as in a batch; a checkpoint was compared before.

        Raises:
            CheckpointError: Too many predictions differ, so the quality depends on the batches.
        """
        if self.checkpoint.graph is None:
            return
        numbers = range(min(N_ALONE_DOCUMENTS, len(self.documents)))
        together = [
            prediction
            for start in range(0, len(numbers), ALONE_BATCH)
            for prediction in self.predict(numbers[start : start + ALONE_BATCH])
        ]
        alone = [self.predict([number])[0] for number in numbers]
        n_equal, n_units = self.task.count_equal(alone, together)
        if n_equal < self.task.least_agreement * n_units:
            raise CheckpointError(
                self.checkpoint.folder,
                found="its predictions for a document alone and in a padded batch agree in "
                f"{n_equal / n_units:.3g} of {n_units} predictions (limit {self.task.least_agreement:g})",
                fix="export it with the input attention_mask, of an architecture whose mask hides padding",
            )

    def answer(self, documents: Sequence[Document]) -> list[Prediction]:
        """Predict documents in one call; tokenisation is part of it."""
        encodings = [self.encoder.encode(document) for document in documents]
        return self.task.read_predictions(
            self.session.infer(self.encoder.pad(encodings)), encodings, self.labels
        )

    def _require_finite(self, batch: Batch, logits: Logits) -> None:
        mask = batch.arrays.get("attention_mask")
        # At padding, an output may be anything.
        kept = logits[mask.astype(bool)] if mask is not None and logits.shape[:2] == mask.shape else logits
        if kept.dtype.kind == "f" and not np.isfinite(kept).all():
            raise CheckpointError(
                self.checkpoint.folder,
                found="outputs with NaN or infinity for the documents",
                fix="restore its weights, or export or train it again",
            )


@dataclass(frozen=True, kw_only=True)
class RowReader:
    """Loaded model that reads rows; its calls are always end to end.

    Attributes:
        session: The model.
        task: What it does with a document.
        documents: Documents in a fixed order.
    """

    session: RowSession
    task: Task
    documents: tuple[Document, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """No labels: only its answers name any."""
        return ()

    @property
    def n_truncated(self) -> int:
        """Number of documents that were cut: unknown, so none."""
        return 0

    def size_of(self, number: int) -> int:
        """Return the size of a document: its words."""
        return self.documents[number].length

    def list_preparations(self) -> list[Callable[[], object]]:
        """List no calls: what a model does before it computes is part of each call."""
        return []

    def bind(self, numbers: Sequence[int], region: Region) -> BoundCall:
        """Prepare a call on some of the documents."""
        del region
        documents = [self.documents[number] for number in numbers]
        n_words = sum(document.length for document in documents)
        return BoundCall(partial(self.answer, documents), n_words, n_words)

    def serve(self, numbers: Sequence[int], region: Region) -> object:
        """Answer requests for some of the documents."""
        del region
        return self.predict(numbers)

    def predict(self, numbers: Sequence[int]) -> list[Prediction]:
        """Predict some of the documents in one call."""
        return self.answer([self.documents[number] for number in numbers])

    def require_finite(self) -> None:
        """Check nothing: reading an answer refuses what is not a finite number."""

    def require_same_alone(self) -> None:
        """Check nothing: rows are not padded."""

    def answer(self, documents: Sequence[Document]) -> list[Prediction]:
        """Predict documents in one call; making rows and reading answers are part of it."""
        rows: list[dict[str, Any]] = [self.task.write_row(document) for document in documents]
        return self.task.read_answers(self.session.answer(rows), documents)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Everything that one process of one job works on.

    Attributes:
        model: Loaded model.
        task: What the model does with a document.
        documents: Documents in a fixed order.
        repeat: Number of this process among those of the job, from 0.
    """

    model: TensorModel | RowReader
    task: Task
    documents: tuple[Document, ...]
    repeat: int


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
