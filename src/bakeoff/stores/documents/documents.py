"""Rows as documents: words with tags, texts with character spans, or texts alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bakeoff.core.config.data import DataSettings
from bakeoff.errors import DataError
from bakeoff.measure.tasks.cells import read_list
from bakeoff.measure.tasks.label_schemes import (
    Scheme,
    describe_tags,
    infer_scheme,
    is_tag,
    read_entities,
    write_bio,
)
from bakeoff.measure.tasks.spans import Span, align_spans, split_words
from bakeoff.measure.tasks.token_classification import Document
from bakeoff.plural import count
from bakeoff.record import Record
from bakeoff.stores.documents.fields import Fields
from bakeoff.stores.documents.read import read_rows

NO_LABELS = "no labels"


class DocumentFile(Record):
    """A file of documents.

    Attributes:
        scheme: Scheme of the tags; None if no document has tags of its own.
        has_spans: Whether a document has character spans.
        n_widened: Character spans that began or ended within a word.
        n_dropped: Character spans that are excluded, since they overlap others or hold no word.
    """

    documents: tuple[Document, ...]
    scheme: Scheme | None
    has_spans: bool
    n_widened: int
    n_dropped: int

    @property
    def form(self) -> str:
        """Form of the labels, in words."""
        forms = [f"tags in {self.scheme}"] if self.scheme else []
        return " and ".join([*forms, *(["character spans"] if self.has_spans else [])]) or NO_LABELS

    @property
    def remarks(self) -> tuple[str, ...]:
        """Changes that reading made to the labels, in words."""
        widened, dropped = count(self.n_widened, "span"), count(self.n_dropped, "span")
        found = {
            f"{widened} began or ended within a word; bakeoff takes the whole words": self.n_widened,
            f"{dropped} excluded: another span has the word, or the span has none": self.n_dropped,
        }
        return tuple(remark for remark, number in found.items() if number)


@dataclass(frozen=True)
class _Row:
    """A document as the file has it.

    Attributes:
        tags: Tags in the file's scheme, or in BIO if they come from spans; None without labels.
    """

    place: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None
    has_spans: bool = False
    n_widened: int = 0
    n_dropped: int = 0


def read_documents(path: Path, settings: DataSettings) -> tuple[Document, ...]:
    """Read the documents of a file; arguments and errors as in ``read_document_file``."""
    return read_document_file(path, settings).documents


def read_document_file(path: Path, settings: DataSettings) -> DocumentFile:
    """Read a file of documents, labelled or not.

    Args:
        path: File in one of the formats of ``read_rows``, or folder that ``datasets`` saved.
        settings: Format of the file, names of the fields, and the scheme of the tags.

    Raises:
        DataError: The file is missing, or one of its values is not a document.
    """
    given = read_rows(path, settings.format, name_fields(settings))
    rows = [_parse(place, value, settings) for place, value in given]
    tagged = [row.tags for row in rows if row.tags is not None and not row.has_spans]
    scheme = (settings.scheme or infer_scheme(tagged)) if tagged else None
    return DocumentFile(
        documents=tuple(Document(tokens=row.tokens, tags=_read_tags(row, scheme, settings)) for row in rows),
        scheme=scheme,
        has_spans=any(row.has_spans for row in rows),
        n_widened=sum(row.n_widened for row in rows),
        n_dropped=sum(row.n_dropped for row in rows),
    )


def require_labels(path: Path, documents: Iterable[Document], settings: DataSettings, needed_by: str) -> None:
    """Check that every document is labelled.

    Raises:
        DataError: A document is not.
    """
    bare = [number for number, document in enumerate(documents, 1) if not document.tags]
    if bare:
        raise DataError(
            str(path),
            found=f"{count(len(bare), 'document')} without labels (first: number {bare[0]})",
            expected=f"labels in {settings.tags_field!r} or {settings.annotations_field!r}, since "
            f"{needed_by} needs them; add them, or name their field in data.tags_field or "
            "data.annotations_field",
        )


def count_leaked(train: tuple[Document, ...], test: tuple[Document, ...]) -> int:
    """Count the test documents with the same words as a training document."""
    seen = {document.tokens for document in train}
    return sum(document.tokens in seen for document in test)


def name_fields(settings: DataSettings) -> Fields:
    """Return the names under which readers put what a format has no names for."""
    return Fields(
        tokens=settings.tokens_field,
        tags=settings.tags_field,
        text=settings.text_field,
        annotations=settings.annotations_field,
    )


def _parse(place: str, value: object, settings: DataSettings) -> _Row:
    if isinstance(value, str):
        return _Row(place, _words_of(place, value), tags=None)
    if not isinstance(value, Mapping):
        raise DataError(place, found=f"a {type(value).__name__}", expected="one JSON object")
    if settings.tokens_field not in value and settings.text_field in value:
        return _parse_text(place, value, settings)
    tokens = _read_words(place, value, settings.tokens_field)
    if value.get(settings.tags_field) is None:
        return _Row(place, tokens, tags=None)
    tags = _read_words(place, _name_numbers(place, value, settings), settings.tags_field)
    if len(tokens) != len(tags):
        raise DataError(
            place,
            found=f"{settings.tokens_field!r} of length {len(tokens)} and {settings.tags_field!r} of length "
            f"{len(tags)}",
            expected="one tag for each word",
        )
    return _Row(place, tokens, tags)


def _read_words(place: str, row: Mapping[str, object], field: str) -> tuple[str, ...]:
    value = read_list(row.get(field))
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        found = "nothing" if field not in row else repr(value)[:60]
        raise DataError(f"{place}: field {field!r}", found=found, expected="a non-empty list of words")
    return tuple(value)


def _name_numbers(place: str, row: Mapping[str, object], settings: DataSettings) -> Mapping[str, object]:
    """Replace integer tags by their names."""
    field, names = settings.tags_field, settings.labels
    tags = read_list(row[field])
    if not isinstance(tags, list) or not all(type(tag) is int for tag in tags):
        return row
    place = f"{place}: field {field!r}"
    if names is None:
        expected = "tags as text; set data.labels to the names of the numbers, in their order"
        raise DataError(place, found="integers", expected=expected)
    wrong = [tag for tag in tags if not 0 <= tag < len(names)]
    if wrong:
        expected = f"0 to {len(names) - 1}, the numbers of data.labels"
        raise DataError(place, found=str(wrong[0])[:40], expected=expected)
    return {field: [names[tag] for tag in tags]}


def _read_tags(row: _Row, scheme: Scheme | None, settings: DataSettings) -> tuple[str, ...]:
    """Return tags with prefixes in any scheme of the file."""
    if row.tags is None or row.has_spans or scheme is None:
        return row.tags or ()
    for tag in row.tags:
        if not is_tag(tag, scheme):
            raise DataError(
                row.place,
                found=f"tag {tag!r} in {settings.tags_field!r}",
                expected=f"{describe_tags(scheme)}; correct it, or set data.scheme to io for plain labels",
            )
    return write_bio(read_entities(row.tags, "io"), len(row.tags)) if scheme == "io" else row.tags


def _parse_text(place: str, row: Mapping[str, object], settings: DataSettings) -> _Row:
    text, annotations = row[settings.text_field], read_list(row.get(settings.annotations_field))
    if not isinstance(text, str):
        raise DataError(f"{place}: field {settings.text_field!r}", found=repr(text)[:60], expected="a text")
    tokens = _words_of(place, text)
    if annotations is None:
        return _Row(place, tokens, tags=None)
    place = f"{place}: field {settings.annotations_field!r}"
    if not isinstance(annotations, list):
        raise DataError(place, found=repr(annotations)[:60], expected="a list of spans")
    aligned = align_spans(text, [_parse_span(place, span, len(text)) for span in annotations])
    return _Row(
        place,
        aligned.tokens,
        aligned.tags,
        has_spans=True,
        n_widened=aligned.n_widened,
        n_dropped=aligned.n_dropped,
    )


def _parse_span(place: str, value: object, length: int) -> Span:
    parts = [value.get(name) for name in Span._fields] if isinstance(value, dict) else value
    match parts:
        case [int(start), int(end), str(label)] if 0 <= start < end <= length and label:
            return Span(start, end, label)
    raise DataError(
        place,
        found=repr(value)[:60],
        expected=f"[start, end, LABEL] with 0 <= start < end <= {length}, the length of the text",
    )


def _words_of(place: str, text: str) -> tuple[str, ...]:
    words = tuple(text[word.start : word.end] for word in split_words(text))
    if not words:
        raise DataError(place, found="a text without a word", expected="a text; remove the document")
    return words
