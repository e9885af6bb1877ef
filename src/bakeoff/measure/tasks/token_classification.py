"""Labelled documents, and entity-level F1 as seqeval defines it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version

from bakeoff.errors import MissingExtraError
from bakeoff.record import Record

OUTSIDE = "O"
# The one metric that bakeoff computes itself: micro F1 of entities. Any other name is a different metric.
ENTITY_F1 = "f1"


class Document(Record):
    """One text, split into words, with one BIO tag per word."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


class EntityCounts(Record):
    """Entity counts of one document, for comparisons of candidates document by document.

    Attributes:
        true_positives: Predicted entities with the right type and both right ends.
        predicted: All predicted entities.
        actual: All labelled entities.
    """

    true_positives: int
    predicted: int
    actual: int


def read_entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Read the entities of one document from BIO tags, as conlleval does.

    Returns:
        Type of each entity, and the numbers of its first and last word.
    """
    try:
        from seqeval.metrics.sequence_labeling import get_entities
    except ImportError as error:
        raise MissingExtraError("reading entities", library="seqeval", extra="torch") from error
    return [(str(kind), int(first), int(last)) for kind, first, last in get_entities(list(tags))]


def count_entities(actual: Sequence[str], predicted: Sequence[str]) -> EntityCounts:
    """Compare the labelled and the predicted entities of one document."""
    labelled, found = set(read_entities(actual)), set(read_entities(predicted))
    return EntityCounts(true_positives=len(labelled & found), predicted=len(found), actual=len(labelled))


def micro_f1(counts: Iterable[EntityCounts]) -> float:
    """Return micro-averaged F1 over documents: 2·TP / (predicted + actual), in [0, 1]; 0 without entities.

    ``seqeval.metrics.f1_score`` gives the same number for the documents together.
    """
    rows = list(counts)
    total = sum(row.predicted + row.actual for row in rows)
    return 2 * sum(row.true_positives for row in rows) / total if total else 0.0


def evaluator_version() -> str:
    """Return the library that defines the metric, with version, for every evaluation fingerprint."""
    return f"seqeval {version('seqeval')}"


def label_list(documents: Iterable[Document]) -> tuple[str, ...]:
    """Return all tags of the documents: O first, the others sorted, and an I- tag for every B- tag."""
    tags = {tag for document in documents for tag in document.tags}
    types = {tag[2:] for tag in tags if tag != OUTSIDE}
    return (OUTSIDE, *sorted(f"{prefix}-{name}" for name in types for prefix in "BI"))
