"""Interface of every task: what a document is, how a model reads it, and how its answer is judged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.errors import CheckpointError
from bakeoff.measure.model.checkpoint import Checkpoint, Head
from bakeoff.measure.model.tokenizer import Batch, Encoder, Encoding
from bakeoff.measure.tasks.documents import Document
from bakeoff.measure.tasks.metrics import METRICS_VERSION, Metric, Outcomes
from bakeoff.measure.tasks.row_answers import name_place, require_one_a_row
from bakeoff.measure.tasks.rows import Row
from bakeoff.measure.tasks.served import Column, Request
from bakeoff.record import Record

# Tags of a document, its label or labels, a number, or anything that a custom task judges.
Prediction = Any
Logits = NDArray[np.floating]


@dataclass(frozen=True)
class DocumentSet:
    """Documents of a file.

    Attributes:
        form: Form of their labels, in words.
        labels: Names of their labels, sorted; empty if they have none, or numbers.
        remarks: Changes that reading made to the labels, a line each.
    """

    documents: tuple[Document, ...]
    form: str
    labels: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class TaskEncoder(NamedTuple):
    """Encoder of documents, as a task uses the tokenizer of a model.

    Attributes:
        encode: Makes the encoding of one document.
        pad: Makes a batch of encodings.
    """

    encode: Callable[[Document], Encoding]
    pad: Callable[[Sequence[Encoding]], Batch]


class BaseTask(Record):
    """What the models of a contest do.

    Attributes:
        head: Head of the checkpoints that fit; None if no checkpoint does.
        reads_tensors: Whether its documents are rows of a file of arrays, which need no tokenizer.
        serves_requests: Whether its models can be promoted to answer requests.
        least_agreement: Least share of predictions that a runtime with fewer bits must have in common with
            PyTorch. It finds broken conversions; the quality scenario measures what the others cost.
    """

    head: ClassVar[Head | None]
    reads_tensors: ClassVar[bool] = False
    serves_requests: ClassVar[bool] = True
    # A whole text counts once, and its label flips near a boundary: of 64 texts, six may.
    least_agreement: ClassVar[float] = 0.9
    kind: str

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Metrics by name; the first one is the default. Empty if nothing can be judged."""

    @property
    def default_metric(self) -> str:
        """Name of the default metric; empty if the task has none."""
        return next(iter(self.metrics), "")

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Settings that decide the numbers: part of the benchmark key. Names of fields are not."""

    @property
    def reading(self) -> dict[str, Any]:
        """Settings that decide how rows are read: part of the fingerprint of the data."""
        return {"kind": self.kind, **self.model_dump(mode="json", exclude_defaults=True)}

    @property
    def evaluator(self) -> str:
        """Definition of the metrics, with version, for every evaluation fingerprint."""
        return f"bakeoff {METRICS_VERSION}"

    @property
    @abstractmethod
    def label_fields(self) -> tuple[str, ...]:
        """Names of the settings that name the field of the labels."""

    @abstractmethod
    def read(self, rows: Sequence[Row]) -> DocumentSet:
        """Read the documents of a file, labelled or not.

        Raises:
            DataError: A row is not a document of this task.
        """

    @abstractmethod
    def encode(self, encoder: Encoder, document: Document) -> Encoding:
        """Turn a document into token ids."""

    def make_encoder(
        self, checkpoint: Checkpoint, max_length: int, documents: Sequence[Document]
    ) -> TaskEncoder:
        """Make the encoder of a model.

        Args:
            checkpoint: The model, with its tokenizer.
            max_length: Tokens after which a document is cut.
            documents: Documents to encode.
        """
        del documents
        encoder = Encoder(checkpoint, max_length)
        return TaskEncoder(partial(self.encode, encoder), encoder.pad)

    @abstractmethod
    def read_predictions(
        self, logits: Logits, encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> list[Prediction]:
        """Read one prediction for each document of a batch.

        Args:
            logits: Output of the model; the first axis is the documents.
            encodings: The same documents, in the order of the rows.
            labels: Label of each output.
        """

    @abstractmethod
    def compare(
        self, documents: Sequence[Document], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> Outcomes:
        """Compare predictions with labelled documents; the outcomes are kept raw.

        Args:
            documents: Labelled documents.
            predictions: Prediction for each document.
            labels: Label of each output of the model; empty if it has none.
        """

    @abstractmethod
    def find_fault(self, outcomes: Outcomes) -> str | None:
        """Find what is impossible in stored outcomes, which would win or lose by accident; or return None."""

    def count_parts(self, outcomes: Outcomes) -> tuple[str, int] | None:
        """Count the parts of the documents that are judged, with their name; None if documents are whole."""
        del outcomes
        return None

    @abstractmethod
    def count_equal(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> tuple[int, int]:
        """Count the equal units of two sets of predictions, and all units: words, or documents."""

    @abstractmethod
    def list_labels(self, documents: Sequence[Document]) -> tuple[str, ...]:
        """List the labels of a new model for these documents, in the order of its outputs."""

    @abstractmethod
    def make_targets(
        self, documents: Sequence[Document], encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> NDArray[Any]:
        """Return what the training loss compares the logits of a batch with.

        Args:
            documents: Labelled documents of the batch.
            encodings: The same documents as token ids.
            labels: Label of each output.
        """

    @property
    def training_config(self) -> dict[str, Any]:
        """Settings of a new model's configuration, besides its labels."""
        return {}

    @property
    @abstractmethod
    def request_columns(self) -> tuple[Column, ...]:
        """Columns of the requests to a served model."""

    @property
    @abstractmethod
    def answer_columns(self) -> tuple[Column, ...]:
        """Columns of its answers."""

    @property
    @abstractmethod
    def request_example(self) -> dict[str, Any]:
        """Example of a request."""

    @abstractmethod
    def read_request(self, number: int, row: Mapping[str, object]) -> Request:
        """Read one row of a request.

        Args:
            number: Number of the row, for messages.
            row: Values by column.

        Raises:
            DataError: The row holds no document.
        """

    @abstractmethod
    def write_answer(
        self, request: Request, encoding: Encoding | None, logits: Logits | None, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Write the answer to one row.

        Args:
            request: The row.
            encoding: Its document as token ids; None if it holds nothing to read.
            logits: Output of the model for it, without the axis of the documents; None likewise.
            labels: Label of each output.
        """

    @abstractmethod
    def write_row(self, document: Document) -> dict[str, Any]:
        """Write what a model reads of a document as a row, with the names of the data's fields."""

    @abstractmethod
    def read_answer(self, place: str, answer: Any, document: Document) -> Prediction:
        """Read the answer of a model that reads rows.

        Args:
            place: Name of the answer, for messages.
            answer: Answer to the row of the document.
            document: The document.

        Raises:
            DataError: The answer is not a prediction of this task.
        """

    def read_answers(self, answers: Sequence[Any], documents: Sequence[Document]) -> list[Prediction]:
        """Read the answers to several rows.

        Raises:
            DataError: The model gave more or fewer answers than rows, or one is not a prediction of this task.
        """
        require_one_a_row(answers, len(documents))
        return [
            self.read_answer(name_place(number), answer, document)
            for number, (answer, document) in enumerate(zip(answers, documents, strict=True))
        ]

    @abstractmethod
    def require_labels_known(self, model: str, labels: Sequence[str], documents: Sequence[Document]) -> None:
        """Check that a model knows every label of the documents.

        Args:
            model: Name of the model, for the message.
            labels: Label of each of its outputs.
            documents: Labelled documents.

        Raises:
            UnknownLabelsError: The documents have a label that the model cannot predict.
        """

    def require_head(self, checkpoint: Checkpoint) -> None:
        """Check that a checkpoint has the head of this task.

        Raises:
            CheckpointError: It has another one, or none.
        """
        if self.head is None or checkpoint.head != self.head:
            raise CheckpointError(
                checkpoint.folder,
                found=f"{checkpoint.described}, but data.task is {self.kind}",
                fix=f"give a model with a head for {self.kind}, or correct data.task.kind",
            )

    def require_inputs(self, checkpoint: Checkpoint, documents: Sequence[Document]) -> None:
        """Check that a model reads these documents; a tokenizer makes its inputs of any text.

        Raises:
            DataError: They are tensors that the model does not read.
        """

    def name_outputs(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the label of each output; a subclass may name outputs that the model leaves unnamed."""
        return tuple(labels)

    def find_metric(self, name: str | None) -> Metric:
        """Return a metric by its name; None is the default of the task.

        Raises:
            KeyError: The task has no such metric, or none at all.
        """
        wanted = self.default_metric if name is None else name
        if wanted not in self.metrics:
            known = ", ".join(self.metrics) or "none"
            raise KeyError(f"{wanted or 'default'}: not a metric of {self.kind} (known: {known})")
        return self.metrics[wanted]
