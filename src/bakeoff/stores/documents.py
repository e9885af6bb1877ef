"""Labelled documents in JSON Lines files."""

from __future__ import annotations

import json
from pathlib import Path

from bakeoff.core.config.settings import DataSettings
from bakeoff.errors import DataError
from bakeoff.measure.tasks.token_classification import OUTSIDE, Document


def read_documents(path: Path, settings: DataSettings) -> tuple[Document, ...]:
    """Read a file of labelled documents.

    Args:
        path: File with one JSON object a line.
        settings: Names of the fields.

    Raises:
        DataError: The file is missing, or one of its lines is not a labelled document.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(
            str(path), found="no such file", expected="a JSON Lines file; correct its path in data.yaml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), found=str(error), expected="a readable UTF-8 file") from error
    documents = tuple(
        _parse(f"{path}:{number}", line, settings) for number, line in enumerate(lines, 1) if line.strip()
    )
    if not documents:
        raise DataError(str(path), found="no document", expected="at least one")
    return documents


def count_leaked(train: tuple[Document, ...], test: tuple[Document, ...]) -> int:
    """Count the test documents with the same words as a training document."""
    seen = {document.tokens for document in train}
    return sum(document.tokens in seen for document in test)


def _parse(place: str, line: str, settings: DataSettings) -> Document:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(place, found=f"invalid JSON ({error})", expected="one JSON object") from None
    if not isinstance(row, dict):
        raise DataError(place, found=f"a {type(row).__name__}", expected="one JSON object")
    tokens = _words(place, row, settings.tokens_field)
    tags = _words(place, row, settings.tags_field)
    if len(tokens) != len(tags):
        raise DataError(
            place,
            found=f"{settings.tokens_field!r} of length {len(tokens)} and {settings.tags_field!r} of length "
            f"{len(tags)}",
            expected="one tag for each word",
        )
    for tag in tags:
        if tag != OUTSIDE and not (tag[:2] in ("B-", "I-") and tag[2:]):
            raise DataError(
                place, found=f"tag {tag!r} in {settings.tags_field!r}", expected="O, B-TYPE or I-TYPE"
            )
    return Document(tokens=tokens, tags=tags)


def _words(place: str, row: dict[str, object], field: str) -> tuple[str, ...]:
    value = row.get(field)
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        found = "nothing" if field not in row else repr(value)[:60]
        raise DataError(f"{place}: field {field!r}", found=found, expected="a non-empty list of words")
    return tuple(value)
