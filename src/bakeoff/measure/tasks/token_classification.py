"""Token classification: entities in texts that are split into words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff.errors import DataError, UnknownLabelsError
from bakeoff.measure.model.checkpoint import Head
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.tasks import metrics, served_entities
from bakeoff.measure.tasks.cells import read_list
from bakeoff.measure.tasks.documents import Document, TaggedDocument
from bakeoff.measure.tasks.label_schemes import (
    OUTSIDE,
    Scheme,
    describe_tags,
    find_types,
    infer_scheme,
    is_tag,
    name_scheme,
    read_entities,
    write_bio,
)
from bakeoff.measure.tasks.metrics import Metric, Outcomes, name_class
from bakeoff.measure.tasks.row_answers import read_word_tags
from bakeoff.measure.tasks.rows import Row
from bakeoff.measure.tasks.served import EXAMPLE_TEXT, TEXT, TRUNCATED, Column, Request
from bakeoff.measure.tasks.spans import align_spans
from bakeoff.measure.tasks.task import BaseTask, DocumentSet, Logits, Prediction
from bakeoff.measure.tasks.word_fields import read_span, read_words, words_of
from bakeoff.plural import count

NO_LABELS = "no labels"
IGNORED_LABEL = -100  # torch's cross entropy ignores these
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]

METRICS = metrics.by_name(
    (
        Metric("f1", "F1", metrics.f1),
        Metric("precision", "precision", metrics.precision),
        Metric("recall", "recall", metrics.recall),
        Metric("macro_f1", "macro F1", metrics.macro_f1),
        Metric("token_accuracy", "token accuracy", metrics.share_exact),
    )
)


class TokenClassification(BaseTask):
    """Entities in text: a tag for every word.

    A document is a list of words with a list of tags, or a text with character spans.

    Attributes:
        head: Head of the checkpoints that fit.
        least_agreement: Least share of words with the same tag in a runtime with fewer bits.
        tokens_field: Field with the list of words.
        tags_field: Field with one tag per word.
        text_field: Field with the text, of documents without a list of words.
        annotations_field: Field with the spans of the text. Each is `[start, end, LABEL]` or an object with
            `start`, `end` and `label`.
        scheme: Scheme of the tags. `io` is a plain label per word, `iob2` is the same as `bio`. Null infers
            the scheme from the tags; ``doctor`` shows it.
        labels: Names of the labels if the tags are integers, such as `[O, PERSON]` for 0 and 1.
    """

    head: ClassVar[Head | None] = "token_classification"
    # Over any 64 texts the share of equal tags was never below 0.983 with int8 of ONNX Runtime, the farthest
    # off, on fine-tuned MiniLMs of two, three and six layers.
    least_agreement: ClassVar[float] = 0.98

    kind: Literal["token_classification"] = "token_classification"
    tokens_field: str = "tokens"
    tags_field: str = "ner_tags"
    text_field: str = "text"
    annotations_field: str = "annotations"
    scheme: Scheme | None = None
    labels: Names | None = None

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Metrics of entities, as seqeval defines them, and of words."""
        return METRICS

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that decide the numbers; the tags are in the documents."""
        return {"kind": self.kind}

    @property
    def reading(self) -> dict[str, Any]:
        """Settings that decide how rows are read; the scheme is in the labels."""
        return {name: value for name, value in super().reading.items() if name != "scheme"}

    @property
    def evaluator(self) -> str:
        """Library that reads the entities, with version."""
        return f"{super().evaluator}, seqeval {version('seqeval')}"

    @property
    def label_fields(self) -> tuple[str, ...]:
        """Names of the settings that name the field of the labels."""
        return "tags_field", "annotations_field"

    def read(self, rows: Sequence[Row]) -> DocumentSet:
        """Read documents, labelled or not; the scheme is that of all tags together."""
        parsed = [self._parse(row) for row in rows]
        tagged = [row.tags for row in parsed if row.tags is not None and not row.has_spans]
        scheme = (self.scheme or infer_scheme(tagged)) if tagged else None
        forms = [f"tags in {scheme}"] if scheme else []
        forms += ["character spans"] if any(row.has_spans for row in parsed) else []
        documents = tuple(
            TaggedDocument(tokens=row.tokens, tags=self._read_tags(row, scheme)) for row in parsed
        )
        return DocumentSet(
            documents=documents,
            form=" and ".join(forms) or NO_LABELS,
            labels=list_types(documents),
            remarks=_list_remarks(parsed),
        )

    def encode(self, encoder: Encoder, document: Document) -> Encoding:
        """Turn the words of a document into token ids."""
        return encoder.encode(_tagged(document).tokens)

    def read_predictions(
        self, logits: Logits, encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> list[Prediction]:
        """Return the tag of each word: the best label at its first token; O for words that were cut off.

        Args:
            logits: Array [documents, tokens, labels].
            encodings: Documents in the order of the rows.
            labels: Name of each output.
        """
        return read_tags(logits, encodings, labels)

    def compare(
        self, documents: Sequence[Document], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> Outcomes:
        """Count entities of each document, all together and by type, and the words with the right tag."""
        scheme = name_scheme(labels) if labels else "bio"
        pairs = []
        for document, tags in zip(map(_tagged, documents), predictions, strict=True):
            actual, found = set(read_entities(document.tags)), set(read_entities(tags, scheme))
            words = zip(
                write_bio(actual, len(document.tags)), write_bio(found, len(document.tags)), strict=True
            )
            pairs.append((actual, found, sum(one == other for one, other in words), len(document.tags)))
        types = sorted({kind for actual, found, *_ in pairs for kind, _, _ in actual | found})
        columns = {
            metrics.TRUE_POSITIVES: [len(actual & found) for actual, found, *_ in pairs],
            metrics.PREDICTED: [len(found) for _, found, *_ in pairs],
            metrics.ACTUAL: [len(actual) for actual, *_ in pairs],
            metrics.EXACT: [n_exact for *_, n_exact, _ in pairs],
            metrics.UNITS: [n_words for *_, n_words in pairs],
        }
        for number, name in enumerate(types):
            of_type = [
                ({e for e in actual if e[0] == name}, {e for e in found if e[0] == name})
                for actual, found, *_ in pairs
            ]
            columns |= {
                name_class(metrics.TRUE_POSITIVES, number): [len(one & other) for one, other in of_type],
                name_class(metrics.PREDICTED, number): [len(other) for _, other in of_type],
                name_class(metrics.ACTUAL, number): [len(one) for one, _ in of_type],
            }
        return {name: np.array(column, dtype=np.float64) for name, column in columns.items()}

    def find_fault(self, outcomes: Outcomes) -> str | None:
        """Find missing or impossible counts."""
        return metrics.find_wrong_counts(outcomes)

    def count_parts(self, outcomes: Outcomes) -> tuple[str, int] | None:
        """Count the entities of the documents."""
        return "entities", int(outcomes[metrics.ACTUAL].sum())

    def count_equal(self, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> tuple[int, int]:
        """Count the words with equal tags, and all words."""
        pairs = [
            one == other
            for left, right in zip(ours, theirs, strict=True)
            for one, other in zip(left, right, strict=True)
        ]
        return sum(pairs), len(pairs)

    def list_labels(self, documents: Sequence[Document]) -> tuple[str, ...]:
        """Return the labels of a model for these documents: O first, the others sorted.

        Each entity type has B- and I-, and also E- and S- if any tag has one of these.
        """
        tags = {tag for document in documents for tag in _tagged(document).tags} - {OUTSIDE}
        prefixes = "BIES" if any(tag.startswith(("E-", "S-")) for tag in tags) else "BI"
        names = {tag[2:] for tag in tags}
        return (OUTSIDE, *sorted(f"{prefix}-{name}" for name in names for prefix in prefixes))

    def make_targets(
        self, documents: Sequence[Document], encodings: Sequence[Encoding], labels: Sequence[str]
    ) -> NDArray[Any]:
        """Return the label of each word at its first token [documents, tokens]; the loss ignores the rest."""
        number = {label: position for position, label in enumerate(labels)}
        longest = max(len(encoding.ids) for encoding in encodings)
        targets = np.full((len(encodings), longest), IGNORED_LABEL, dtype=np.int64)
        for row, (encoding, document) in enumerate(zip(encodings, map(_tagged, documents), strict=True)):
            for position, tag in zip(encoding.first_tokens, document.tags, strict=True):
                if position is not None:
                    targets[row, position] = number[tag]
        return targets

    @property
    def request_columns(self) -> tuple[Column, ...]:
        """A text, or its words."""
        return served_entities.COLUMNS

    @property
    def answer_columns(self) -> tuple[Column, ...]:
        """Entities, and whether the end of the text did not fit."""
        return Column("entities", "entities"), Column(TRUNCATED, "boolean")

    @property
    def request_example(self) -> dict[str, Any]:
        """Example of a request."""
        return {TEXT: EXAMPLE_TEXT}

    def read_request(self, number: int, row: Mapping[str, object]) -> Request:
        """Read a text, or a list of words."""
        return served_entities.read_words_request(number, row)

    def write_answer(
        self, request: Request, encoding: Encoding | None, logits: Logits | None, labels: Sequence[str]
    ) -> dict[str, Any]:
        """List the entities: type, text, ``start`` and ``end`` in characters, numbers of their words.

        If the row held words, characters count in the words joined by blanks.
        """
        if encoding is None or logits is None:
            return {"entities": [], TRUNCATED: False}
        (tags,) = read_tags(logits[None], [encoding], labels)
        entities = served_entities.place_entities(request, tags, name_scheme(labels))
        return {"entities": entities, TRUNCATED: encoding.is_truncated}

    def write_row(self, document: Document) -> dict[str, Any]:
        """Write the words, and the text of the words joined by blanks."""
        tokens = list(_tagged(document).tokens)
        return {self.tokens_field: tokens, self.text_field: " ".join(tokens)}

    def read_answer(self, place: str, answer: Any, document: Document) -> Prediction:
        """Read a tag for each word, or spans of the text that ``write_row`` writes."""
        return list(read_word_tags(place, answer, _tagged(document).tokens))

    def require_labels_known(self, model: str, labels: Sequence[str], documents: Sequence[Document]) -> None:
        """Check that a model knows every entity type of the documents, in any schemes of both."""
        known = find_types(labels, name_scheme(labels))
        unknown = [name for name in list_types(documents) if name not in known]
        if unknown:
            raise UnknownLabelsError({model: unknown}, {model: sorted(known)})

    def _parse(self, row: Row) -> _Parsed:
        place, value = row
        if isinstance(value, str):
            return _Parsed(place, words_of(place, value), tags=None)
        if self.tokens_field not in value and self.text_field in value:
            return self._parse_text(place, value)
        tokens = read_words(place, value, self.tokens_field)
        if value.get(self.tags_field) is None:
            return _Parsed(place, tokens, tags=None)
        tags = read_words(place, self._name_numbers(place, value), self.tags_field)
        if len(tokens) != len(tags):
            raise DataError(
                place,
                found=f"{self.tokens_field!r} of length {len(tokens)} and {self.tags_field!r} of length "
                f"{len(tags)}",
                expected="one tag for each word",
            )
        return _Parsed(place, tokens, tags)

    def _name_numbers(self, place: str, row: Mapping[str, object]) -> Mapping[str, object]:
        """Replace integer tags by their names."""
        field, names = self.tags_field, self.labels
        tags = read_list(row[field])
        if not isinstance(tags, list) or not all(type(tag) is int for tag in tags):
            return row
        place = f"{place}: field {field!r}"
        if names is None:
            expected = "tags as text; set data.task.labels to the names of the numbers, in their order"
            raise DataError(place, found="integers", expected=expected)
        wrong = [tag for tag in tags if not 0 <= tag < len(names)]
        if wrong:
            expected = f"0 to {len(names) - 1}, the numbers of data.task.labels"
            raise DataError(place, found=str(wrong[0])[:40], expected=expected)
        return {field: [names[tag] for tag in tags]}

    def _read_tags(self, row: _Parsed, scheme: Scheme | None) -> tuple[str, ...]:
        """Return tags with prefixes in any scheme of the file."""
        if row.tags is None or row.has_spans or scheme is None:
            return row.tags or ()
        for tag in row.tags:
            if not is_tag(tag, scheme):
                raise DataError(
                    row.place,
                    found=f"tag {tag!r} in {self.tags_field!r}",
                    expected=f"{describe_tags(scheme)}; correct it, or set data.task.scheme to io for plain "
                    "labels",
                )
        return write_bio(read_entities(row.tags, "io"), len(row.tags)) if scheme == "io" else row.tags

    def _parse_text(self, place: str, row: Mapping[str, object]) -> _Parsed:
        text, annotations = row[self.text_field], read_list(row.get(self.annotations_field))
        if not isinstance(text, str):
            raise DataError(f"{place}: field {self.text_field!r}", found=repr(text)[:60], expected="a text")
        tokens = words_of(place, text)
        if annotations is None:
            return _Parsed(place, tokens, tags=None)
        place = f"{place}: field {self.annotations_field!r}"
        if not isinstance(annotations, list):
            raise DataError(place, found=repr(annotations)[:60], expected="a list of spans")
        aligned = align_spans(text, [read_span(place, span, len(text)) for span in annotations])
        return _Parsed(
            place,
            aligned.tokens,
            aligned.tags,
            has_spans=True,
            n_widened=aligned.n_widened,
            n_dropped=aligned.n_dropped,
        )


@dataclass(frozen=True)
class _Parsed:
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


def list_types(documents: Iterable[Document]) -> tuple[str, ...]:
    """Return the entity types of the documents, sorted."""
    return tuple(sorted(find_types({tag for each in documents for tag in _tagged(each).tags}, "bio")))


def read_tags(logits: Logits, encodings: Sequence[Encoding], labels: Sequence[str]) -> list[list[str]]:
    """Return the tag of each word: the best label at its first token; O for words that were cut off.

    Args:
        logits: Array [documents, tokens, labels].
        encodings: Documents in the order of the rows.
        labels: Name of each output.
    """
    best = logits.argmax(axis=-1)
    return [
        [OUTSIDE if at is None else labels[best[row, at]] for at in encoding.first_tokens]
        for row, encoding in enumerate(encodings)
    ]


def _tagged(document: Document) -> TaggedDocument:
    if not isinstance(document, TaggedDocument):
        raise TypeError(f"expected a document with words, found {type(document).__name__}")
    return document


def _list_remarks(rows: Sequence[_Parsed]) -> tuple[str, ...]:
    n_widened, n_dropped = sum(row.n_widened for row in rows), sum(row.n_dropped for row in rows)
    widened, dropped = count(n_widened, "span"), count(n_dropped, "span")
    found = {
        f"{widened} began or ended within a word; bakeoff takes the whole words": n_widened,
        f"{dropped} excluded: another span has the word, or the span has none": n_dropped,
    }
    return tuple(remark for remark, number in found.items() if number)
