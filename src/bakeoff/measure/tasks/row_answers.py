"""Answers of models that read rows, as predictions of a task: the forms that libraries give, and no other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bakeoff.errors import DataError
from bakeoff.measure.tasks.label_schemes import Entity, is_tag, name_scheme, read_entities, write_bio
from bakeoff.measure.tasks.spans import Span
from bakeoff.plural import count

_SHOWN = 60
# Least probability of a label that applies, where a text may have several.
_HALF = 0.5
_SPAN_LABELS = ("label", "type", "entity_group", "entity")


def name_place(number: int) -> str:
    """Name the answer to a row, for messages."""
    return f"prediction {number + 1} of the model"


def require_one_a_row(answers: Sequence[Any], n_rows: int) -> None:
    """Check that a model gave one answer a row.

    Raises:
        DataError: It gave more or fewer.
    """
    if len(answers) != n_rows:
        raise DataError(
            "predictions of the model",
            found=f"{count(len(answers), 'prediction')} for {count(n_rows, 'row')}",
            expected="one a row; without a signature, a model may read column names as texts, so log "
            "it with one",
        )


def read_label(place: str, answer: Any, names: Sequence[str] | None) -> str:
    """Read the label of a text: a name, a number of ``names``, or a mapping with either.

    Args:
        place: Name of the answer, for messages.
        answer: ``"A"``, ``1``, ``{"label": "A", "score": 0.9}`` or ``{"A": 0.9, "B": 0.1}``.
        names: Names of the labels that the model gives as numbers.

    Raises:
        DataError: It is none of these.
    """
    answer = _unwrap(answer)
    if isinstance(answer, Mapping):
        answer = answer["label"] if "label" in answer else _find_best(place, answer)
    return _name_label(place, answer, names)


def read_labels(place: str, answer: Any, names: Sequence[str] | None) -> tuple[str, ...]:
    """Read the labels of a text: a list of names, one 0 or 1 for each of ``names``, or probabilities by name.

    Raises:
        DataError: It is none of these.
    """
    if isinstance(answer, Mapping):
        if "labels" not in answer:
            chosen = [name for name, share in answer.items() if _read_share(place, share) > _HALF]
            return tuple(sorted(map(str, chosen)))
        answer = answer["labels"]
    if not isinstance(answer, (list, tuple, set, frozenset)):
        raise DataError(place, found=_show(answer), expected="a list of labels")
    values = list(answer)
    if names is not None and len(values) == len(names) and all(_is_indicator(value) for value in values):
        return tuple(sorted(name for name, value in zip(names, values, strict=True) if value))
    return tuple(sorted({_name_label(place, value, names) for value in values}))


def read_number(place: str, answer: Any) -> float:
    """Read the number of a text: alone, in a list of one, or as ``value``, ``score`` or ``prediction``.

    Raises:
        DataError: It is not a finite number.
    """
    answer = _unwrap(answer)
    if isinstance(answer, Mapping):
        answer = next((answer[name] for name in ("value", "score", "prediction") if name in answer), answer)
    if isinstance(answer, bool) or not isinstance(answer, (int, float)) or not math.isfinite(answer):
        raise DataError(place, found=_show(answer), expected="a finite number")
    return float(answer)


def read_word_tags(place: str, answer: Any, tokens: Sequence[str]) -> tuple[str, ...]:
    """Read the tags of words: one a word in any scheme, or spans of the words joined by blanks.

    Args:
        place: Name of the answer, for messages.
        answer: ``["O", "B-city"]``, a mapping with ``tags`` or ``entities``, or a list of mappings with
            ``start``, ``end`` and ``label``, ``type`` or ``entity_group``.
        tokens: Words of the document.

    Returns:
        One tag of BIO a word.

    Raises:
        DataError: It is none of these, or its length is another one.
    """
    if isinstance(answer, Mapping):
        answer = answer["tags"] if "tags" in answer else answer.get("entities", answer)
    if not isinstance(answer, (list, tuple)):
        raise DataError(place, found=_show(answer), expected="a list of tags or of entities")
    if all(isinstance(entity, Mapping) for entity in answer):  # also of none
        return _place_spans(place, answer, tokens)
    if len(answer) != len(tokens):
        found = f"{count(len(answer), 'tag')} for {count(len(tokens), 'word')}"
        raise DataError(place, found=found, expected="one tag a word")
    if not all(isinstance(tag, str) and tag for tag in answer):
        raise DataError(place, found=_show(answer), expected="tags as text")
    tags = [str(tag) for tag in answer]
    scheme = name_scheme(tags)
    wrong = [tag for tag in tags if not is_tag(tag, scheme)]
    if wrong:
        raise DataError(place, found=f"the tag {wrong[0]!r:.40}", expected=f"tags of the scheme {scheme}")
    return write_bio(read_entities(tags, scheme), len(tags))


def _place_spans(place: str, entities: Sequence[Mapping[str, Any]], tokens: Sequence[str]) -> tuple[str, ...]:
    starts, at = [], 0
    for token in tokens:
        starts.append(at)
        at += len(token) + 1
    ends = [start + len(token) for start, token in zip(starts, tokens, strict=True)]
    found: list[Entity] = []
    for entity in entities:
        label = next((entity[name] for name in _SPAN_LABELS if name in entity), None)
        match (entity.get("start"), entity.get("end"), label):
            case (int(start), int(end), str(name)) if 0 <= start < end < at and name:
                span = Span(start, end, name)
            case _:
                raise DataError(
                    place, found=_show(entity), expected="start, end and label of places in the words"
                )
        words = [word for word in range(len(tokens)) if starts[word] < span.end and ends[word] > span.start]
        if words and (not found or words[0] > found[-1][2]):
            found.append((span.label, words[0], words[-1]))
    return write_bio(found, len(tokens))


def _name_label(place: str, value: Any, names: Sequence[str] | None) -> str:
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        if names is None:
            expected = "a label as text; set data.task.labels to the names of the numbers, in their order"
            raise DataError(place, found=f"the integer {value}", expected=expected)
        if not 0 <= value < len(names):
            expected = f"0 to {len(names) - 1}, the numbers of data.task.labels"
            raise DataError(place, found=str(value)[:40], expected=expected)
        return names[value]
    if not isinstance(value, str) or not value:
        raise DataError(place, found=_show(value), expected="a label")
    unnamed = f"LABEL_{value.removeprefix('LABEL_')}"
    if names is not None and value == unnamed and value not in names and value[6:].isdecimal():
        return _name_label(place, int(value[6:]), names)
    return value


def _find_best(place: str, shares: Mapping[Any, Any]) -> str:
    """Find the label with the greatest probability, as spaCy gives them all."""
    if not shares:
        raise DataError(place, found="an empty mapping", expected="a label")
    known = {str(name): _read_share(place, share) for name, share in shares.items()}
    return max(known, key=lambda name: known[name])


def _read_share(place: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(place, found=_show(value), expected="a label, or a probability for each label")
    return float(value)


def _is_indicator(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and value in (0, 1)


def _unwrap(answer: Any) -> Any:
    """Return the only element of a list with one: some libraries rank labels, and keep the best."""
    return answer[0] if isinstance(answer, (list, tuple)) and len(answer) == 1 else answer


def _show(value: Any) -> str:
    return repr(value)[:_SHOWN]
