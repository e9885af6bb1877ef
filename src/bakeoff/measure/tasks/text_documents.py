"""Reading of texts, alone or in pairs, for the tasks that judge a whole text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bakeoff.errors import DataError
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.tasks.documents import Document, TextDocument
from bakeoff.measure.tasks.rows import Row


def read_texts(row: Row, text_field: str, pair_field: str | None) -> tuple[str, str | None]:
    """Read the text of a row, and the second one of a pair.

    Args:
        row: Row of a data file.
        text_field: Field with the text.
        pair_field: Field with the second text; None if the texts are single.

    Raises:
        DataError: A text is missing, empty or no text.
    """
    if isinstance(row.values, str):
        if pair_field is not None:
            expected = f"an object with {text_field!r} and {pair_field!r}"
            raise DataError(row.place, found="a text alone", expected=expected)
        return _require_text(row.place, row.values), None
    text = _read_text(row.place, row.values, text_field, "data.task.text_field")
    if pair_field is None:
        return text, None
    return text, _read_text(row.place, row.values, pair_field, "data.task.pair_field")


def require_text_document(document: Document) -> TextDocument:
    """Return the document, which has a text; another kind of document here is a fault of ours."""
    if not isinstance(document, TextDocument):
        raise TypeError(f"expected a document with a text, found {type(document).__name__}")
    return document


def encode_text(encoder: Encoder, document: Document) -> Encoding:
    """Turn a text, or a pair of texts, into token ids."""
    text = require_text_document(document)
    return encoder.encode_text(text.text, text.second)


def _read_text(place: str, row: Mapping[str, object], field: str, setting: str) -> str:
    if field not in row:
        shown = ", ".join(map(str, list(row)[:10])) or "none"
        raise DataError(
            place,
            found=f"no field {field!r} (fields: {shown})"[:300],
            expected=f"a text in it; name the right field in {setting}",
        )
    value = row[field]
    if not isinstance(value, str):
        raise DataError(f"{place}: field {field!r}", found=repr(value)[:60], expected="a text")
    return _require_text(f"{place}: field {field!r}", value)


def _require_text(place: str, text: str) -> str:
    if not text.strip():
        raise DataError(place, found="an empty text", expected="a text; remove the row")
    return text


def write_text_row(document: Document, text_field: str, pair_field: str | None) -> dict[str, Any]:
    """Write a text, or a pair, as a row with the names of the data's fields."""
    text = require_text_document(document)
    return {text_field: text.text, **({} if pair_field is None else {pair_field: text.second})}
