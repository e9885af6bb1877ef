"""Fields of rows for token classification: lists of words, texts, and spans."""

from __future__ import annotations

from collections.abc import Mapping

from bakeoff.errors import DataError
from bakeoff.measure.tasks.cells import read_list
from bakeoff.measure.tasks.spans import Span, split_words


def read_words(place: str, row: Mapping[str, object], field: str) -> tuple[str, ...]:
    """Read a list of words, or of tags.

    Raises:
        DataError: The field holds something else, or nothing.
    """
    value = read_list(row.get(field))
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        found = "nothing" if field not in row else repr(value)[:60]
        raise DataError(f"{place}: field {field!r}", found=found, expected="a non-empty list of words")
    return tuple(value)


def read_span(place: str, value: object, length: int) -> Span:
    """Read a labelled place in a text of a length.

    Raises:
        DataError: It is not a span, or lies outside.
    """
    parts = [value.get(name) for name in Span._fields] if isinstance(value, dict) else value
    match parts:
        case [int(start), int(end), str(label)] if 0 <= start < end <= length and label:
            return Span(start, end, label)
    raise DataError(
        place,
        found=repr(value)[:60],
        expected=f"[start, end, LABEL] with 0 <= start < end <= {length}, the length of the text",
    )


def words_of(place: str, text: str) -> tuple[str, ...]:
    """Split a text into words.

    Raises:
        DataError: It has none.
    """
    words = tuple(text[word.start : word.end] for word in split_words(text))
    if not words:
        raise DataError(place, found="a text without a word", expected="a text; remove the document")
    return words
