"""Rows of a data file as documents; the task reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from bakeoff.core.config.data import DataSettings
from bakeoff.errors import DataError
from bakeoff.measure.tasks import Document
from bakeoff.measure.tasks.task import DocumentSet
from bakeoff.plural import count
from bakeoff.stores.documents.fields import Fields
from bakeoff.stores.documents.read import read_rows
from bakeoff.stores.documents.recognise import NPZ, recognise


def read_documents(path: Path, settings: DataSettings) -> tuple[Document, ...]:
    """Read the documents of a file; arguments and errors as in ``read_document_file``."""
    return read_document_file(path, settings).documents


def read_document_file(path: Path, settings: DataSettings) -> DocumentSet:
    """Read a file of documents, labelled or not.

    Args:
        path: File in one of the formats of ``read_rows``, or folder that ``datasets`` saved.
        settings: Format of the file, and the task with the names of the fields.

    Raises:
        DataError: The file is missing, or one of its rows is not a document of the task.
    """
    if not settings.task.reads_tensors and (look := recognise(path)) == NPZ:
        expected = f"documents of {settings.task.kind}; correct the file, or set data.task to tensors"
        raise DataError(str(path), found=look.words, expected=expected)
    return settings.task.read(read_rows(path, settings.format, name_fields(settings)))


def name_fields(settings: DataSettings) -> Fields:
    """Return the names under which readers put what a format has no names for, as the task has them."""
    names = {name: getattr(settings.task, f"{name}_field", None) for name in Fields._fields}
    return Fields(**{name: given for name, given in names.items() if isinstance(given, str)})


def require_labels(path: Path, documents: Iterable[Document], settings: DataSettings, needed_by: str) -> None:
    """Check that every document is labelled.

    Raises:
        DataError: A document is not.
    """
    bare = [number for number, document in enumerate(documents, 1) if not document.is_labelled]
    if bare:
        names = settings.task.label_fields
        if not names:
            found = f"{count(len(bare), 'document')} without labels"
            expected = f"documents with labels, since {needed_by} needs them; {settings.task.kind} have none"
            raise DataError(str(path), found=found, expected=expected)
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
