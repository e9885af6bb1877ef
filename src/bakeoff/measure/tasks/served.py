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


class RequestLimits(NamedTuple):
    """Largest request that a served model answers.

    Attributes:
        max_rows: Most rows.
        max_characters: Most characters of a cell; words count with a blank each.
    """

    max_rows: int
    max_characters: int


def read_table(
    data: Mapping[str, Iterable[object]], columns: Sequence[Column], limits: RequestLimits
) -> list[dict[str, object]]:
    """Read the rows of a table, with the columns that it has, and check the size of each cell.

    Args:
        data: Values by column; a pandas DataFrame is one.
        columns: Columns that a request may have.
        limits: Largest table that is read.

    Raises:
        DataError: It is not a table, has none of the columns, is too large, or has text that is not Unicode.
    """
    names = [column.name for column in columns]
    try:
        found = {name: _read_column(name, data[name]) for name in names if name in data}
    except (TypeError, KeyError, IndexError):
        found = {}
    if not found:  # MLflow drops columns that the signature does not name
        raise DataError("request", found=f"no column {' or '.join(names)}", expected="one of them")
    lengths = {len(values) for values in found.values()}
    if len(lengths) > 1:
        listed = " and ".join(f"{len(values)} of {name}" for name, values in found.items())
        raise DataError("request", found=f"{listed}", expected="one value of each column in every row")
    (n_rows,) = lengths
    if n_rows > limits.max_rows:
        expected = f"at most {limits.max_rows:,}; send several requests, or load the model with max_rows"
        raise DataError("request", found=f"{n_rows:,} rows", expected=expected)
    for name, values in found.items():
        for row, value in enumerate(values):
            _check_cell(f"row {row}: {name}", value, limits.max_characters)
    return [{name: values[row] for name, values in found.items()} for row in range(n_rows)]


def _read_column(name: str, values: Iterable[object]) -> list[object]:
    if isinstance(values, str | bytes) or getattr(values, "ndim", 1) != 1:
        found = "one text" if isinstance(values, str | bytes) else "several columns of this name"
        raise DataError(f"request: {name}", found=found, expected="a list with a value for each row")
    return list(values)


def _check_cell(place: str, value: object, max_characters: int) -> None:
    """Check a text or a list of words; the task says what is wrong with anything else."""
    words = [value] if isinstance(value, str) else list_words(value) or []
    n_characters = sum(map(len, words)) + len(words) - 1
    if n_characters > max_characters:
        expected = f"at most {max_characters:,}; send less of it, or load the model with max_characters"
        raise DataError(place, found=f"{n_characters:,} characters", expected=expected)
    try:
        for word in words:
            word.encode()
    except UnicodeEncodeError:
        raise DataError(
            place, found="half of a surrogate pair", expected="text; correct the \\u escape"
        ) from None


def list_words(value: object) -> list[str] | None:
    """Return the words of a cell; None without a list of words: pandas fills empty cells with NaN."""
    if not isinstance(value, list | tuple | np.ndarray):
        return None
    words = list(value) if np.ndim(value) == 1 or not isinstance(value, np.ndarray) else []
    return words if all(isinstance(word, str) for word in words) else None


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
