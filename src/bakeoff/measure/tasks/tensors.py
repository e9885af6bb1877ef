"""Tensors task: any graph with inputs of its own, measured for its cost alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import ValidationError

from bakeoff.errors import CheckpointError, ConfigError, DataError
from bakeoff.measure.model.checkpoint import Checkpoint, Head
from bakeoff.measure.model.tensor_rows import TensorRows
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.tasks.documents import Document, TensorDocument
from bakeoff.measure.tasks.metrics import Metric, Outcomes
from bakeoff.measure.tasks.rows import Row
from bakeoff.measure.tasks.served import Column, Request
from bakeoff.measure.tasks.task import BaseTask, DocumentSet, Logits, Prediction, TaskEncoder

_NO_LABELS = "tensors have no labels"
_NO_ROWS = "a model that reads rows reads no tensors"
_NOT_SERVED = "a model that reads tensors serves no requests"


class Tensors(BaseTask):
    """Cost of any graph: its inputs are the rows of an ``.npz`` file, and its outputs are not judged.

    Attributes:
        head: None, since a checkpoint reads text.
        reads_tensors: True: its files are arrays.
        serves_requests: False: it has neither columns of requests nor answers.
    """

    head: ClassVar[Head | None] = None
    reads_tensors: ClassVar[bool] = True
    serves_requests: ClassVar[bool] = False

    kind: Literal["tensors"]

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """No metric: there is nothing to compare outputs with."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that decide the numbers: none but the kind."""
        return {"kind": self.kind}

    @property
    def label_fields(self) -> tuple[str, ...]:
        """Names of the settings that name a field of labels: none."""
        return ()

    def read(self, rows: Sequence[Row]) -> DocumentSet:
        """Read the references to the rows of a file of arrays.

        Raises:
            DataError: A row is something else.
        """
        documents = []
        for row in rows:
            try:
                documents.append(TensorDocument.model_validate(row.values))
            except ValidationError:
                found, expected = "a row of another format", "an .npz file; correct data.test or data.task"
                raise DataError(row.place, found=found, expected=expected) from None
        return DocumentSet(tuple(documents), "rows of arrays")

    def encode(self, encoder: Encoder | TensorRows, document: Document) -> Encoding:
        """Return the number of the row as an encoding."""
        if not isinstance(encoder, TensorRows) or not isinstance(document, TensorDocument):
            raise TypeError("the task tensors encodes the rows of a file of arrays")
        return encoder.encode_row(document.row)

    def read_predictions(
        self, logits: Logits, encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> list[Prediction]:
        """Return the output of the whole batch for each row: what its axes mean is not known."""
        del labels
        return [logits] * len(encodings)

    def compare(
        self, documents: Sequence[Document], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> Outcomes:
        """Refuse: there are no labels."""
        raise TypeError(_NO_LABELS)

    def find_fault(self, outcomes: Outcomes) -> str | None:
        """Refuse any outcomes: there are no labels that they could come from."""
        return f"outcomes ({', '.join(outcomes)}), but {_NO_LABELS}"

    def count_equal(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> tuple[int, int]:
        """Refuse: outputs are not predictions."""
        raise TypeError("tensors have no predictions to compare")

    def list_labels(self, documents: Sequence[Document]) -> tuple[str, ...]:
        """Refuse: nothing is trained."""
        raise ConfigError([f"data.task.kind: found {self.kind}; {_NO_LABELS}, so no model can be trained"])

    def make_targets(
        self, documents: Sequence[Document], encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> NDArray[Any]:
        """Refuse: nothing is trained."""
        raise TypeError(_NO_LABELS)

    @property
    def request_columns(self) -> tuple[Column, ...]:
        """No columns: nothing is served."""
        return ()

    @property
    def answer_columns(self) -> tuple[Column, ...]:
        """No columns: nothing is served."""
        return ()

    @property
    def request_example(self) -> dict[str, Any]:
        """No example: nothing is served."""
        return {}

    def read_request(self, number: int, row: Mapping[str, object]) -> Request:
        """Refuse: nothing is served."""
        raise TypeError(_NOT_SERVED)

    def write_answer(
        self, request: Request, encoding: Encoding | None, logits: Logits | None, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Refuse: nothing is served."""
        raise TypeError(_NOT_SERVED)

    def write_row(self, document: Document) -> dict[str, Any]:
        """Refuse: a row of arrays is not a row of JSON values."""
        raise TypeError(_NO_ROWS)

    def read_answer(self, place: str, answer: Any, document: Document) -> Prediction:
        """Refuse: no model that reads rows gets here."""
        raise TypeError(_NO_ROWS)

    def require_labels_known(self, model: str, labels: Sequence[str], documents: Sequence[Document]) -> None:
        """Return: there are no labels to know."""

    def require_head(self, checkpoint: Checkpoint) -> None:
        """Check that a model is a graph; a checkpoint reads text.

        Raises:
            CheckpointError: It is not a graph.
        """
        if checkpoint.graph is None:
            raise CheckpointError(
                checkpoint.folder,
                found=f"{checkpoint.described}, which reads text, but data.task is tensors",
                fix="name an .onnx file, or correct data.task.kind",
            )

    def require_inputs(self, checkpoint: Checkpoint, documents: Sequence[Document]) -> None:
        """Check that the arrays have the names, dtypes and shapes of the graph's inputs.

        Raises:
            DataError: One of them does not fit, or the file has changed.
        """
        rows, path = _open_rows(documents)
        if checkpoint.graph is not None:
            rows.require_inputs(checkpoint.graph, path)

    def make_encoder(
        self, checkpoint: Checkpoint, max_length: int, documents: Sequence[Document]
    ) -> TaskEncoder:
        """Make the encoder that stacks the rows of the documents' file.

        Raises:
            DataError: The file has changed, or does not fit the inputs of the graph.
        """
        del max_length
        rows, path = _open_rows(documents)
        if checkpoint.graph is not None:
            rows.require_inputs(checkpoint.graph, path)
        return TaskEncoder(partial(self.encode, rows), rows.pad)


def _open_rows(documents: Sequence[Document]) -> tuple[TensorRows, Path]:
    first = documents[0]
    if not isinstance(first, TensorDocument):
        raise TypeError(f"expected rows of a file of arrays, found {type(first).__name__}")
    return TensorRows(first.path, first.digest), first.path
