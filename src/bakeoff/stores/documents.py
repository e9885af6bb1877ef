"""Documents in JSON files; the task reads the rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bakeoff.core.config.data import DataSettings
from bakeoff.errors import DataError
from bakeoff.measure.tasks import Document
from bakeoff.measure.tasks.rows import Row
from bakeoff.measure.tasks.task import DocumentSet
from bakeoff.plural import count


def read_documents(path: Path, settings: DataSettings) -> tuple[Document, ...]:
    """Read the documents of a file; arguments and errors as in ``read_document_file``."""
    return read_document_file(path, settings).documents


def read_document_file(path: Path, settings: DataSettings) -> DocumentSet:
    """Read a file of documents, labelled or not.

    Args:
        path: File with one JSON value a line, or one JSON list.
        settings: Task, with the names of the fields.

    Raises:
        DataError: The file is missing, or one of its rows is not a document of the task.
    """
    rows = [_parse(place, value) for place, value in _split(path, _read_text(path))]
    if not rows:
        raise DataError(str(path), found="no document", expected="at least one")
    return settings.task.read(rows)


def require_labels(path: Path, documents: Iterable[Document], settings: DataSettings, needed_by: str) -> None:
    """Check that every document is labelled.

    Raises:
        DataError: A document is not.
    """
    bare = [number for number, document in enumerate(documents, 1) if not document.is_labelled]
    if bare:
        names = settings.task.label_fields
        fields = " or ".join(repr(getattr(settings.task, name)) for name in names)
        keys = " or ".join(f"data.task.{name}" for name in names)
        raise DataError(
            str(path),
            found=f"{count(len(bare), 'document')} without labels (first: number {bare[0]})",
            expected=f"labels in {fields}, since {needed_by} needs them; add them, or name their field in "
            f"{keys}",
        )


def count_leaked(train: tuple[Document, ...], test: tuple[Document, ...]) -> int:
    """Count the test documents with the same words as a training document."""
    seen = {_digestible(document) for document in train}
    return sum(_digestible(document) in seen for document in test)


def _digestible(document: Document) -> str:
    return json.dumps(document.inputs, sort_keys=True)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(
            str(path), found="no such file", expected="a JSON Lines file; correct its path in data.yaml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), found=str(error), expected="a readable UTF-8 file") from error


def _split(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of the file, each with its place."""
    if text.lstrip().startswith("["):
        values = _load(str(path), text, "one JSON list, or one JSON object a line")
        yield from ((f"{path}: document {number}", value) for number, value in enumerate(values, 1))
        return
    for number, line in enumerate(text.split("\n"), 1):  # JSON may hold the other separators of lines
        if line.strip():
            place = f"{path}:{number}"
            yield place, _load(place, line, "one JSON object")


def _load(place: str, text: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(place, found=f"invalid JSON ({error})", expected=expected) from None


def _parse(place: str, value: object) -> Row:
    if isinstance(value, str | dict):
        return Row(place, value)
    raise DataError(place, found=f"a {type(value).__name__}", expected="one JSON object")
