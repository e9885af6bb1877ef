"""Labelled documents, and entity-level F1 as seqeval defines it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version

from bakeoff.errors import UnknownLabelsError
from bakeoff.measure.tasks.label_schemes import (
    OUTSIDE,
    Scheme,
    find_types,
    name_scheme,
    read_entities,
)
from bakeoff.record import Record

# The one metric that bakeoff computes itself: micro F1 of entities. Any other name is a different metric.
ENTITY_F1 = "f1"


class Document(Record):
    """One text, split into words.

    Attributes:
        tags: One tag per word, with the prefixes of `bio`, `iob1` or `bioes`; empty without labels.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] = ()


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


def count_entities(
    actual: Sequence[str], predicted: Sequence[str], predicted_scheme: Scheme = "bio"
) -> EntityCounts:
    """Compare the labelled and the predicted entities of one document.

    Args:
        actual: Tags of a document.
        predicted: Tags of a model.
        predicted_scheme: Scheme of the model's tags, which may differ from that of the data.
    """
    labelled, found = set(read_entities(actual)), set(read_entities(predicted, predicted_scheme))
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
    """Return the labels of a model for these documents: O first, the others sorted.

    Each entity type has B- and I-, and also E- and S- if any tag has one of these.
    """
    tags = {tag for document in documents for tag in document.tags} - {OUTSIDE}
    prefixes = "BIES" if any(tag.startswith(("E-", "S-")) for tag in tags) else "BI"
    return (OUTSIDE, *sorted(f"{prefix}-{name}" for name in {tag[2:] for tag in tags} for prefix in prefixes))


def list_types(documents: Iterable[Document]) -> tuple[str, ...]:
    """Return the entity types of the documents, sorted."""
    return tuple(sorted(find_types({tag for document in documents for tag in document.tags}, "bio")))


def require_known_labels(model: str, labels: Sequence[str], documents: Iterable[Document]) -> None:
    """Check that a model knows every entity type of the documents, in any schemes of both.

    Args:
        model: Name of the model, for the message.
        labels: Labels of its outputs.
        documents: Labelled documents.

    Raises:
        UnknownLabelsError: The documents have a type that the model cannot predict.
    """
    known = find_types(labels, name_scheme(labels))
    unknown = [name for name in list_types(documents) if name not in known]
    if unknown:
        raise UnknownLabelsError({model: unknown}, {model: sorted(known)})
