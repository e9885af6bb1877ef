"""Text classification: one label, or several, for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bakeoff.errors import CheckpointError, DataError, UnknownLabelsError
from bakeoff.measure.model.checkpoint import Checkpoint, Head
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.tasks import metrics, row_answers, served
from bakeoff.measure.tasks.cells import read_list
from bakeoff.measure.tasks.documents import Document, TextDocument
from bakeoff.measure.tasks.metrics import Metric, Outcomes, name_class
from bakeoff.measure.tasks.rows import Row
from bakeoff.measure.tasks.served import TRUNCATED, Column, Request
from bakeoff.measure.tasks.task import BaseTask, DocumentSet, Logits, Prediction
from bakeoff.measure.tasks.text_documents import (
    encode_text,
    read_texts,
    require_text_document,
    write_text_row,
)
from bakeoff.measure.tasks.token_classification import NO_LABELS, Names

_SINGLE = metrics.by_name(
    (
        Metric("accuracy", "accuracy", metrics.accuracy),
        Metric("macro_f1", "macro F1", metrics.macro_f1_of_labels),
        Metric("micro_f1", "micro F1", metrics.accuracy),  # the same number if every document has one label
        Metric("weighted_f1", "weighted F1", metrics.weighted_f1_of_labels),
        Metric("balanced_accuracy", "balanced accuracy", metrics.balanced_accuracy),
        Metric("mcc", "MCC", metrics.matthews, low=-1.0),
    )
)
_MULTI = metrics.by_name(
    (
        Metric("micro_f1", "micro F1", metrics.f1),
        Metric("macro_f1", "macro F1", metrics.macro_f1),
        Metric("subset_accuracy", "subset accuracy", metrics.share_exact),
    )
)


class TextClassification(BaseTask):
    """A label for every text.

    Attributes:
        head: Head of the checkpoints that fit.
        text_field: Field with the text.
        pair_field: Field with a second text, if two belong together; null if texts are single.
        label_field: Field with the label; with ``multi_label``, a list of labels.
        multi_label: Whether a text may have several labels, or none. A label is predicted if its logit is
            above 0, a probability above one half.
        labels: Names of the labels if the data have integers, such as `[negative, positive]` for 0 and 1.
    """

    head: ClassVar[Head | None] = "sequence_classification"

    kind: Literal["text_classification"] = "text_classification"
    text_field: str = "text"
    pair_field: str | None = None
    label_field: str = "label"
    multi_label: bool = False
    labels: Names | None = None

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Metrics of one label, or of several, as scikit-learn defines them."""
        return _MULTI if self.multi_label else _SINGLE

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that decide the numbers; labels are in the documents."""
        return {"kind": self.kind, "multi_label": self.multi_label}

    @property
    def label_fields(self) -> tuple[str, ...]:
        """Names of the settings that name the field of the labels."""
        return ("label_field",)

    @property
    def training_config(self) -> dict[str, Any]:
        """The kind of the loss, by which transformers chooses it."""
        return {"problem_type": _problem_type(is_multi=self.multi_label)}

    def read(self, rows: Sequence[Row]) -> DocumentSet:
        """Read texts, labelled or not."""
        documents = tuple(self._parse(row) for row in rows)
        is_labelled = any(document.is_labelled for document in documents)
        form = ("lists of labels" if self.multi_label else "a label each") if is_labelled else NO_LABELS
        return DocumentSet(documents, form, _list_labels(documents))

    def encode(self, encoder: Encoder, document: Document) -> Encoding:
        """Turn a text, or a pair, into token ids."""
        return encode_text(encoder, document)

    def read_predictions(
        self, logits: Logits, encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> list[Prediction]:
        """Return the labels of each document: the best one, or all with a logit above 0.

        Args:
            logits: Array [documents, labels].
            encodings: Documents in the order of the rows.
            labels: Name of each output.
        """
        del encodings
        if self.multi_label:
            return [tuple(labels[int(at)] for at in np.flatnonzero(row > 0)) for row in logits]
        return [(labels[int(at)],) for at in logits.argmax(axis=-1)]

    def compare(
        self, documents: Sequence[Document], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> Outcomes:
        """Return numbers of the actual and the predicted label; with several labels, counts of each."""
        actual = [require_text_document(document).labels or () for document in documents]
        names = sorted({name for row in (*actual, *predictions) for name in row} | set(labels))
        number = {name: position for position, name in enumerate(names)}
        if not self.multi_label:
            return {
                metrics.ACTUAL: np.array([number[row[0]] for row in actual], dtype=np.float64),
                metrics.PREDICTED: np.array([number[row[0]] for row in predictions], dtype=np.float64),
            }
        is_actual, is_predicted = (
            np.array([[name in row for name in names] for row in rows], dtype=np.float64)
            for rows in (actual, predictions)
        )
        hits = is_actual * is_predicted
        tables = {
            metrics.TRUE_POSITIVES: hits,
            metrics.PREDICTED: is_predicted,
            metrics.ACTUAL: is_actual,
        }
        return {
            **{name: table.sum(axis=1) for name, table in tables.items()},
            metrics.EXACT: (is_actual == is_predicted).all(axis=1).astype(np.float64),
            metrics.UNITS: np.ones(len(actual)),
            **{
                name_class(name, at): table[:, at]
                for name, table in tables.items()
                for at in range(len(names))
            },
        }

    def find_fault(self, outcomes: Outcomes) -> str | None:
        """Find missing or impossible counts, or numbers of labels."""
        if self.multi_label:
            return metrics.find_wrong_counts(outcomes)
        return metrics.find_wrong_numbers(outcomes, (metrics.ACTUAL, metrics.PREDICTED), least=0.0)

    def count_parts(self, outcomes: Outcomes) -> tuple[str, int] | None:
        """Count the labels of the documents, if one may have several."""
        return ("labels", int(outcomes[metrics.ACTUAL].sum())) if self.multi_label else None

    def count_equal(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> tuple[int, int]:
        """Count the documents with equal labels, and all documents."""
        return sum(one == other for one, other in zip(ours, theirs, strict=True)), len(ours)

    def list_labels(self, documents: Sequence[Document]) -> tuple[str, ...]:
        """Return the labels of the documents, in the order of ``labels`` if it is set, else sorted."""
        found = _list_labels(documents)
        return self.labels or found

    def make_targets(
        self, documents: Sequence[Document], encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> NDArray[Any]:
        """Return the number of the label [documents], or 1.0 for each that applies [documents, labels]."""
        del encodings
        rows = [require_text_document(document).labels or () for document in documents]
        if self.multi_label:
            return np.array([[label in row for label in labels] for row in rows], dtype=np.float32)
        number = {label: position for position, label in enumerate(labels)}
        return np.array([number[row[0]] for row in rows], dtype=np.int64)

    @property
    def request_columns(self) -> tuple[Column, ...]:
        """A text, or a pair."""
        return served.text_columns(is_pair=self.pair_field is not None)

    @property
    def answer_columns(self) -> tuple[Column, ...]:
        """The label with its probability, or the labels with theirs."""
        if self.multi_label:
            return Column("labels", "strings"), Column("scores", "doubles"), Column(TRUNCATED, "boolean")
        return Column("label", "string"), Column("score", "double"), Column(TRUNCATED, "boolean")

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
        """Name the label with its probability, or all labels of a probability above one half."""
        del request
        if encoding is None or logits is None:
            raise TypeError("a text has an encoding and logits")
        if self.multi_label:
            probabilities = served.sigmoid(logits)
            chosen = np.flatnonzero(logits > 0)
            return {
                "labels": [labels[int(at)] for at in chosen],
                "scores": [float(probabilities[at]) for at in chosen],
                TRUNCATED: encoding.is_truncated,
            }
        best = int(logits.argmax())
        score = float(served.softmax(logits)[best])
        return {"label": labels[best], "score": score, TRUNCATED: encoding.is_truncated}

    def write_row(self, document: Document) -> dict[str, Any]:
        """Write a text, or a pair."""
        return write_text_row(document, self.text_field, self.pair_field)

    def read_answer(self, place: str, answer: Any, document: Document) -> Prediction:
        """Read a label, or labels."""
        del document
        if self.multi_label:
            return row_answers.read_labels(place, answer, self.labels)
        return (row_answers.read_label(place, answer, self.labels),)

    def require_labels_known(self, model: str, labels: Sequence[str], documents: Sequence[Document]) -> None:
        """Check that a model knows every label of the documents."""
        known = self.name_outputs(labels)
        unknown = [label for label in _list_labels(documents) if label not in known]
        if unknown:
            raise UnknownLabelsError({model: unknown}, {model: sorted(known)})

    def require_head(self, checkpoint: Checkpoint) -> None:
        """Check that a checkpoint classifies texts, with one label or several as this task has."""
        super().require_head(checkpoint)
        expected, found = _problem_type(is_multi=self.multi_label), checkpoint.problem_type
        if found not in (None, expected) or len(checkpoint.labels) < 2:  # noqa: PLR2004 - classes
            what = f"the problem_type {found}" if found else "one output, as a regression has"
            raise CheckpointError(
                checkpoint.folder,
                found=f"{what}, but data.task asks for {expected}",
                fix="correct data.task.kind or data.task.multi_label, or give a model of this task",
            )

    def name_outputs(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Name outputs by ``labels`` of the settings if the model has only LABEL_0, LABEL_1 and so on."""
        unnamed = tuple(f"LABEL_{number}" for number in range(len(labels)))
        names = self.labels if self.labels is not None and len(self.labels) == len(labels) else None
        return names if names is not None and tuple(labels) == unnamed else tuple(labels)

    def _parse(self, row: Row) -> TextDocument:
        text, second = read_texts(row, self.text_field, self.pair_field)
        value = None if isinstance(row.values, str) else row.values.get(self.label_field)
        place = f"{row.place}: field {self.label_field!r}"
        if value is None:
            return TextDocument(text=text, second=second)
        if self.multi_label:
            value = read_list(value)
            if not isinstance(value, list):
                raise DataError(
                    place,
                    found=repr(value)[:60],
                    expected="a list of labels; for one label a text, set data.task.multi_label to false",
                )
            labels = dict.fromkeys(self._read_label(place, label) for label in value)
            return TextDocument(text=text, second=second, labels=tuple(sorted(labels)))
        return TextDocument(text=text, second=second, labels=(self._read_label(place, value),))

    def _read_label(self, place: str, value: object) -> str:
        if isinstance(value, str) and value:
            if self.labels is None or value in self.labels or not (value.isascii() and value.isdecimal()):
                return value
            value = int(value)  # a table holds numbers as text
        if type(value) is bool:
            return str(value).lower()
        if type(value) is not int:
            more = "; for several labels a text, set data.task.multi_label" if isinstance(value, list) else ""
            raise DataError(place, found=repr(value)[:60], expected=f"a label{more}")
        if self.labels is None:
            expected = "labels as text; set data.task.labels to the names of the numbers, in their order"
            raise DataError(place, found=f"the integer {value}", expected=expected)
        if not 0 <= value < len(self.labels):
            expected = f"0 to {len(self.labels) - 1}, the numbers of data.task.labels"
            raise DataError(place, found=str(value)[:40], expected=expected)
        return self.labels[value]


def _problem_type(*, is_multi: bool) -> str:
    return "multi_label_classification" if is_multi else "single_label_classification"


def _list_labels(documents: Iterable[Document]) -> tuple[str, ...]:
    return tuple(
        sorted({label for document in documents for label in require_text_document(document).labels or ()})
    )
