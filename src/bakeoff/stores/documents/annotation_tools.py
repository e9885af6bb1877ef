"""Exports of annotation tools: rows of doccano and Label Studio get the fields that tasks read.

Both tools write JSON. doccano has spans in ``label``, or in ``entities`` if the project has relations.
Label Studio has one object per text with ``data`` and ``annotations`` (its format JSON), or one flat object
with the name of each control as a field (JSON-MIN).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bakeoff.errors import DataError
from bakeoff.measure.tasks.rows import Row
from bakeoff.stores.documents.fields import Fields

# Results of Label Studio that are one value for the whole text.
_VALUES = ("choices", "number", "rating")


def translate_exports(rows: Sequence[Row], fields: Fields) -> list[Row]:
    """Give the rows of an export the fields that tasks read; leave all other rows as they are.

    Spans are added in the field of annotations. A choice or a number of Label Studio is added under the name
    of its control, as in JSON-MIN: one choice as a text, several as a list.

    Raises:
        DataError: A task of Label Studio has several annotations.
    """
    if any(is_task(row.values) for row in rows):
        rows = [_flatten(row, fields) if is_task(row.values) else row for row in rows]
    rows = _unwrap_choices(rows)
    name = _find_spans(rows, fields)
    return rows if name is None else [_with_spans(row, name, fields) for row in rows]


def is_task(values: Mapping[str, object] | str) -> bool:
    """Return whether an object is a task in Label Studio's format JSON."""
    if isinstance(values, str):
        return False
    annotations = values.get("annotations")
    return (
        isinstance(values.get("data"), Mapping)
        and isinstance(annotations, list)
        and all(isinstance(given, Mapping) and isinstance(given.get("result"), list) for given in annotations)
    )


def _flatten(row: Row, fields: Fields) -> Row:
    """Make a task one flat object, as JSON-MIN has it."""
    task: Any = row.values
    values = dict(task["data"])
    results = _pick_annotation(row.place, task["annotations"])
    if results is None:
        return Row(row.place, values)
    spans = []
    for result in results:
        given = result.get("value") if isinstance(result, Mapping) else None
        if not isinstance(given, Mapping):
            continue
        if "start" in given and "end" in given:
            spans.append(given)
            continue
        for kind in _VALUES:
            if kind in given:
                values[str(result.get("from_name", kind))] = (
                    {"choices": given[kind]} if kind == "choices" else given[kind]
                )
    values[fields.annotations] = spans
    return Row(row.place, values)


def _pick_annotation(place: str, annotations: Sequence[Mapping[str, Any]]) -> list[Any] | None:
    """Return the results of the annotation that counts; None if the task is not annotated."""
    given = [each for each in annotations if not each.get("was_cancelled")]
    truths = [each for each in given if each.get("ground_truth")] or given
    if not truths:
        return None
    if len(truths) > 1:
        raise DataError(
            f"{place}: field 'annotations'",
            found=f"{len(truths)} annotations of one text",
            expected="one; mark one as ground truth in Label Studio and export again",
        )
    results: list[Any] = truths[0]["result"]
    return results


def _unwrap_choices(rows: Sequence[Row]) -> list[Row]:
    """Write choices as JSON has them elsewhere: a text each, or lists if any row has several."""
    several = dict[str, bool]()
    for row in rows:
        for name, choices in _list_choices(row):
            several[name] = several.get(name, False) or len(choices) != 1
    if not several:
        return list(rows)
    unwrapped = []
    for row in rows:
        values: Any = row.values
        if not isinstance(values, str):
            values = dict(values)
            for name, is_list in several.items():
                match values.get(name):
                    case {"choices": [*choices]}:
                        values[name] = choices if is_list else choices[0]
                    case str(choice):
                        values[name] = [choice] if is_list else choice
        unwrapped.append(Row(row.place, values))
    return unwrapped


def _list_choices(row: Row) -> Iterator[tuple[str, list[Any]]]:
    if not isinstance(row.values, str):
        for name, value in row.values.items():
            match value:
                case {"choices": [*choices], **rest} if not rest:
                    yield name, choices


def _find_spans(rows: Sequence[Row], fields: Fields) -> str | None:
    """Return the field in which a tool wrote the spans of these rows; None if no tool did."""
    for row in rows:
        if isinstance(row.values, str) or fields.tokens in row.values:
            continue
        if fields.annotations in row.values:
            value = row.values[fields.annotations]
            if isinstance(value, list) and any(map(_is_named_span, value)):
                return fields.annotations
            continue
        for name, value in row.values.items():
            if (
                isinstance(value, list)
                and value
                and all(_is_span(span) or _is_named_span(span) for span in value)
            ):
                return name
    return None


def _is_span(value: object) -> bool:
    """Return whether it is a span as doccano writes it in ``label``."""
    match value:
        case [int(), int(), str()]:
            return True
    return False


def _is_named_span(value: object) -> bool:
    """Return whether it is a span of Label Studio, or of doccano in ``entities``."""
    match value:
        case {"start": _, "end": _, "labels": [*_]} | {"start_offset": _, "end_offset": _, "label": _}:
            return True
    return False


def _with_spans(row: Row, name: str, fields: Fields) -> Row:
    if isinstance(row.values, str) or not isinstance(row.values.get(name), list):
        return row
    text = row.values.get(fields.text)
    given: Any = row.values[name]
    spans = [plain for span in given for plain in _make_plain(span, text if isinstance(text, str) else "")]
    return Row(row.place, {**row.values, fields.annotations: spans})


def _make_plain(span: Any, text: str) -> Iterator[object]:
    """Yield one span for each label."""
    match span:
        case {"start": start, "end": end, "labels": [*labels]}:
            start, end = _count_characters(span, text)
            yield from ([start, end, label] for label in labels)
        case {"start_offset": start, "end_offset": end, "label": label}:
            yield [start, end, label]
        case _:
            yield span


def _count_characters(span: Mapping[str, Any], text: str) -> tuple[Any, Any]:
    """Return start and end in characters: Label Studio counts an emoji twice, as browsers do."""
    start, end, marked = span["start"], span["end"], span.get("text")
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(marked, str) and text):
        return start, end
    if text.isascii() or text[start:end] == marked:
        return start, end
    units = text.encode("utf-16-le", "surrogatepass")
    before, within = units[: 2 * start], units[2 * start : 2 * end]
    if start < 0 or within.decode("utf-16-le", "replace") != marked:
        return start, end
    first = len(before.decode("utf-16-le", "replace"))
    return first, first + len(marked)
