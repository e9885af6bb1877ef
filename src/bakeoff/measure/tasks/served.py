"""Requests and answers of a served model, as its task reads and writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.errors import DataError
from bakeoff.measure.tasks.documents import Document, TextDocument

# Type of a column of requests or answers; `entities` are objects with type, text and places.
ColumnKind = Literal["string", "strings", "double", "doubles", "boolean", "entities"]
TEXT, SECOND = "text", "text_pair"
TRUNCATED = "truncated"
# Not a text of the evaluation: more people read a registry than the evaluation data.
EXAMPLE_TEXT = "Book a table for two in Paris tomorrow evening"
EXAMPLE_SECOND = "Where can we eat tomorrow?"


class Column(NamedTuple):
    """Column of the table of requests, or of answers."""

    name: str
    kind: ColumnKind
    is_required: bool = True


class Word(NamedTuple):
    """A word and its place: characters from ``start`` up to, not including, ``end``."""

    text: str
    start: int
    end: int


class Request(NamedTuple):
    """One row to answer.

    Attributes:
        document: What the model reads; None if the row holds nothing to read.
        text: The text of the row.
        words: Its words with their places, if the task has words.
    """

    document: Document | None
    text: str = ""
    words: tuple[Word, ...] = ()


def read_table(data: Mapping[str, Iterable[object]], columns: Sequence[Column]) -> list[dict[str, object]]:
    """Read the rows of a table, with the columns that it has.

    Args:
        data: Values by column; a pandas DataFrame is one.
        columns: Columns that a request may have.

    Raises:
        DataError: It has none of the columns.
    """
    found = {column.name: list(data[column.name]) for column in columns if column.name in data}
    if not found:  # MLflow drops columns that the signature does not name
        names = [column.name for column in columns]
        raise DataError("request", found=f"no column {' or '.join(names)}", expected="one of them")
    n_rows = max(map(len, found.values()))
    return [{name: values[row] for name, values in found.items()} for row in range(n_rows)]


def read_text_request(number: int, row: Mapping[str, object], *, is_pair: bool) -> Request:
    """Read a text, or a pair of texts.

    Args:
        number: Number of the row, for messages.
        row: Values of the row.
        is_pair: Whether the model reads two texts.

    Raises:
        DataError: A text is missing.
    """
    names = (TEXT, SECOND) if is_pair else (TEXT,)
    for name in names:
        if not isinstance(row.get(name), str):
            raise DataError(f"row {number}: {name}", found=repr(row.get(name))[:60], expected="a string")
    text, second = str(row[TEXT]), str(row[SECOND]) if is_pair else None
    return Request(TextDocument(text=text, second=second), text)


def text_columns(*, is_pair: bool) -> tuple[Column, ...]:
    """Return the columns of requests for a text, or a pair."""
    return (Column(TEXT, "string"), *((Column(SECOND, "string"),) if is_pair else ()))


def text_example(*, is_pair: bool) -> dict[str, Any]:
    """Return an example of a request."""
    return {TEXT: EXAMPLE_TEXT, **({SECOND: EXAMPLE_SECOND} if is_pair else {})}


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return probabilities that add up to 1, one for each logit."""
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probability of each logit alone."""
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return probabilities
