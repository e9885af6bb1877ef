"""Text regression: a number for a text or a pair of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bakeoff.errors import CheckpointError, DataError
from bakeoff.measure.model.checkpoint import Checkpoint, Head
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.tasks import metrics, served
from bakeoff.measure.tasks.documents import Document, TextDocument
from bakeoff.measure.tasks.metrics import Metric, Outcomes
from bakeoff.measure.tasks.row_answers import read_number
from bakeoff.measure.tasks.rows import Row
from bakeoff.measure.tasks.served import TRUNCATED, Column, Request
from bakeoff.measure.tasks.task import BaseTask, DocumentSet, Logits, Prediction
from bakeoff.measure.tasks.text_documents import (
    encode_text,
    read_texts,
    require_text_document,
    write_text_row,
)
from bakeoff.measure.tasks.token_classification import NO_LABELS

METRICS = metrics.by_name(
    (
        Metric("spearman", "Spearman's ρ", metrics.spearman, low=-1.0),
        Metric("pearson", "Pearson's r", metrics.pearson, low=-1.0),
        Metric("rmse", "RMSE", metrics.root_mean_squared_error, direction="minimize", high=math.inf),
        Metric("mae", "MAE", metrics.mean_absolute_error, direction="minimize", high=math.inf),
    )
)
# Two predictions count as equal if they differ by less than this share of the range of all predictions.
EQUAL_SHARE = 0.02
# Name of the one output in the configuration of transformers.
OUTPUT = "LABEL_0"


class TextRegression(BaseTask):
    """A number for every text.

    Attributes:
        head: Head of the checkpoints that fit.
        text_field: Field with the text.
        pair_field: Field with a second text, if two belong together; null if texts are single.
        target_field: Field with the number.
    """

    head: ClassVar[Head | None] = "sequence_classification"

    kind: Literal["text_regression"] = "text_regression"
    text_field: str = "text"
    pair_field: str | None = None
    target_field: str = "label"

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Correlations, and errors in units of the number, for which less is better."""
        return METRICS

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that decide the numbers."""
        return {"kind": self.kind}

    @property
    def label_fields(self) -> tuple[str, ...]:
        """Names of the settings that name the field of the number."""
        return ("target_field",)

    @property
    def training_config(self) -> dict[str, Any]:
        """The kind of the loss, by which transformers chooses it."""
        return {"problem_type": "regression"}

    def read(self, rows: Sequence[Row]) -> DocumentSet:
        """Read texts, with a number or without."""
        documents = tuple(self._parse(row) for row in rows)
        numbers = [document.number for document in documents if document.number is not None]
        form = f"numbers from {min(numbers):g} to {max(numbers):g}" if numbers else NO_LABELS
        return DocumentSet(documents, form)

    def encode(self, encoder: Encoder, document: Document) -> Encoding:
        """Turn a text, or a pair, into token ids."""
        return encode_text(encoder, document)

    def read_predictions(
        self, logits: Logits, encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> list[Prediction]:
        """Return the number of each document: the one output, logits [documents, 1]."""
        del encodings, labels
        return [float(row[0]) for row in logits]

    def compare(
        self, documents: Sequence[Document], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> Outcomes:
        """Keep prediction and target of each document."""
        del labels
        targets = [require_text_document(document).number for document in documents]
        return {
            metrics.PREDICTION: np.array(predictions, dtype=np.float64),
            metrics.TARGET: np.array(targets, dtype=np.float64),
        }

    def find_fault(self, outcomes: Outcomes) -> str | None:
        """Find missing values."""
        return metrics.find_wrong_numbers(outcomes, (metrics.PREDICTION, metrics.TARGET))

    def count_equal(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> tuple[int, int]:
        """Count the documents with nearly the same number, and all documents."""
        one, other = np.array(ours, dtype=np.float64), np.array(theirs, dtype=np.float64)
        spread = float(other.max() - other.min()) if len(other) else 0.0
        near = np.abs(one - other) <= EQUAL_SHARE * spread if spread else np.isclose(one, other)
        return int(near.sum()), len(ours)

    def list_labels(self, documents: Sequence[Document]) -> tuple[str, ...]:
        """Return the name of the one output."""
        del documents
        return (OUTPUT,)

    def make_targets(
        self, documents: Sequence[Document], encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> NDArray[Any]:
        """Return the number of each document [documents], float32."""
        del encodings, labels
        return np.array([require_text_document(each).number for each in documents], dtype=np.float32)

    @property
    def request_columns(self) -> tuple[Column, ...]:
        """A text, or a pair."""
        return served.text_columns(is_pair=self.pair_field is not None)

    @property
    def answer_columns(self) -> tuple[Column, ...]:
        """The number, and whether the end of the text did not fit."""
        return Column("value", "double"), Column(TRUNCATED, "boolean")

    @property
    def request_example(self) -> dict[str, Any]:
        """Example of a request."""
        return served.text_example(is_pair=self.pair_field is not None)

    def read_request(self, number: int, row: Mapping[str, object]) -> Request:
        """Read a text, or a pair."""
        return served.read_text_request(number, row, is_pair=self.pair_field is not None)

    def write_answer(
        self, request: Request, encoding: Encoding | None, logits: Logits | None, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Return the number."""
        del request, labels
        if encoding is None or logits is None:
            raise TypeError("a text has an encoding and logits")
        return {"value": float(logits[0]), TRUNCATED: encoding.is_truncated}

    def write_row(self, document: Document) -> dict[str, Any]:
        """Write a text, or a pair."""
        return write_text_row(document, self.text_field, self.pair_field)

    def read_answer(self, place: str, answer: Any, document: Document) -> Prediction:
        """Read a number."""
        del document
        return read_number(place, answer)

    def require_labels_known(self, model: str, labels: Sequence[str], documents: Sequence[Document]) -> None:
        """Return: numbers are not labels, so every model knows them."""

    def require_head(self, checkpoint: Checkpoint) -> None:
        """Check that a checkpoint has one output."""
        super().require_head(checkpoint)
        if checkpoint.problem_type not in (None, "regression") or len(checkpoint.labels) != 1:
            raise CheckpointError(
                checkpoint.folder,
                found=f"{len(checkpoint.labels)} outputs, but data.task is text_regression",
                fix="give a model with one output, or set data.task.kind to text_classification",
            )

    def _parse(self, row: Row) -> TextDocument:
        text, second = read_texts(row, self.text_field, self.pair_field)
        value = None if isinstance(row.values, str) else row.values.get(self.target_field)
        if value is None:
            return TextDocument(text=text, second=second)
        return TextDocument(
            text=text, second=second, number=_read_number(f"{row.place}: field {self.target_field!r}", value)
        )


def _read_number(place: str, value: object) -> float:
    """Read a number, which may be written as text, as CSV has it."""
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not math.isfinite(number):
        raise DataError(place, found=repr(value)[:60], expected="a finite number")
    return number
