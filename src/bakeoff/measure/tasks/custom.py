"""Custom task: rows as they are, judged by a function of yours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff.errors import ConfigError, DataError
from bakeoff.measure.model.checkpoint import Head
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.model.user_code import digest_source, load_function
from bakeoff.measure.tasks import metrics
from bakeoff.measure.tasks.documents import Document, RowDocument
from bakeoff.measure.tasks.metrics import Direction, Metric, Outcomes
from bakeoff.measure.tasks.rows import Row
from bakeoff.measure.tasks.served import Column, Request
from bakeoff.measure.tasks.task import BaseTask, DocumentSet, Logits, Prediction
from bakeoff.plural import count

ScoreFunction = Callable[[list[Mapping[str, Any]], list[Any]], Sequence[float]]
_TENSORS = "a custom task has models that read rows; it encodes nothing"


class Custom(BaseTask):
    """Any task: models read rows, and a function of yours gives each prediction a score.

    Attributes:
        head: None, since a checkpoint reads tensors and not rows.
        function: ``package.module:name`` of ``function(rows, predictions) -> scores``, one finite number a
            row. The metric is their mean.
        name: Name of the metric.
        direction: ``maximize`` if more is better, ``minimize`` if less is.
        low: Least score, if there is one.
        high: Greatest score, if there is one.
    """

    head: ClassVar[Head | None] = None

    kind: Literal["custom"]
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    name: Annotated[str, Field(pattern=r"^\w[\w .-]{0,40}$")] = "score"
    direction: Direction = "maximize"
    low: float | None = None
    high: float | None = None

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The mean of the scores."""
        metric = Metric(
            name=self.name,
            label=self.name,
            compute=metrics.mean_score,
            direction=self.direction,
            low=-math.inf if self.low is None else self.low,
            high=math.inf if self.high is None else self.high,
        )
        return {metric.name: metric}

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that decide the numbers, with the digest of the function's file."""
        return {"kind": self.kind, "function": self.function, "source": self._source_digest}

    @property
    def label_fields(self) -> tuple[str, ...]:
        """Names of the settings that name a field of labels: none."""
        return ()

    def read(self, rows: Sequence[Row]) -> DocumentSet:
        """Keep the rows as they are."""
        documents = []
        for row in rows:
            values = {"text": row.values} if isinstance(row.values, str) else dict(row.values)
            documents.append(RowDocument.model_validate({"row": values}))
        return DocumentSet(tuple(documents), count(len(documents), "row"))

    def encode(self, encoder: Encoder, document: Document) -> Encoding:
        """Refuse: rows are not encoded."""
        raise TypeError(_TENSORS)

    def read_predictions(
        self, logits: Logits, encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> list[Prediction]:
        """Refuse: there are no logits."""
        raise TypeError(_TENSORS)

    def compare(
        self, documents: Sequence[Document], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> Outcomes:
        """Let the function score every row.

        Raises:
            ConfigError: The function cannot be imported.
            DataError: It raised an error, or returned something else than one finite number a row.
        """
        del labels
        rows: list[Mapping[str, Any]] = [
            dict(document.row) for document in documents if isinstance(document, RowDocument)
        ]
        try:
            scores = np.asarray(list(self._load()(rows, list(predictions))), dtype=np.float64)
        except ConfigError:
            raise
        except Exception as error:  # code of the user: any error becomes one line
            raise DataError(
                f"data.task.function {self.function}",
                found=f"{type(error).__name__}: {error}"[:200],
                expected="one finite number a row",
            ) from error
        if scores.shape != (len(rows),) or not np.isfinite(scores).all():
            found = f"an array of shape {scores.shape}" if scores.shape != (len(rows),) else "NaN or infinity"
            raise DataError(
                f"data.task.function {self.function}",
                found=found,
                expected=f"{count(len(rows), 'finite number')}, one a row",
            )
        return {metrics.SCORE: scores}

    def find_fault(self, outcomes: Outcomes) -> str | None:
        """Find missing scores."""
        return metrics.find_wrong_numbers(outcomes, (metrics.SCORE,))

    def count_equal(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> tuple[int, int]:
        """Count the equal predictions, and all."""
        return sum(one == other for one, other in zip(ours, theirs, strict=True)), len(ours)

    def list_labels(self, documents: Sequence[Document]) -> tuple[str, ...]:
        """Refuse: the built-in trainer trains no custom task."""
        raise ConfigError(["data.task.kind: found custom; the built-in trainer trains the other tasks"])

    def make_targets(
        self, documents: Sequence[Document], encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> NDArray[Any]:
        """Refuse: nothing is trained."""
        raise TypeError(_TENSORS)

    @property
    def request_columns(self) -> tuple[Column, ...]:
        """No columns of its own: a model that reads rows has its own signature."""
        return ()

    @property
    def answer_columns(self) -> tuple[Column, ...]:
        """No columns of its own."""
        return ()

    @property
    def request_example(self) -> dict[str, Any]:
        """No example of its own."""
        return {}

    def read_request(self, number: int, row: Mapping[str, object]) -> Request:
        """Refuse: a model that reads rows is served as it is."""
        raise TypeError(_TENSORS)

    def write_answer(
        self, request: Request, encoding: Encoding | None, logits: Logits | None, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Refuse: a model that reads rows is served as it is."""
        raise TypeError(_TENSORS)

    def write_row(self, document: Document) -> dict[str, Any]:
        """Return the row as it is."""
        if not isinstance(document, RowDocument):
            raise TypeError(f"expected a row, found {type(document).__name__}")
        return dict(document.row)

    def read_answer(self, place: str, answer: Any, document: Document) -> Prediction:
        """Return the answer as it is."""
        del place, document
        return answer

    def require_labels_known(self, model: str, labels: Sequence[str], documents: Sequence[Document]) -> None:
        """Return: only the function knows what is right."""

    def _load(self) -> ScoreFunction:
        judge: ScoreFunction = load_function(self.function, "data.task.function")
        return judge

    @cached_property
    def _source_digest(self) -> str:
        return digest_source(self.function, "data.task.function")
