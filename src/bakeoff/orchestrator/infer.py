"""Infer a task from what models show and from the fields of a data file, each with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bakeoff.core.config.data import TaskKind
from bakeoff.errors import CheckpointError, ConfigError, DataError
from bakeoff.measure.model.checkpoint import find_head
from bakeoff.measure.model.model_config import (
    CONFIG_FILE,
    read_architecture,
    read_label_names,
    read_problem_type,
)
from bakeoff.measure.tasks.cells import read_list
from bakeoff.measure.tasks.rows import Row
from bakeoff.plural import count

# Names of fields, the most telling first. Names in one group mean the same in data sets that people share.
TOKENS = ("tokens", "words")
TAGS = ("ner_tags", "tags", "labels", "ner", "label")
SPANS = ("annotations", "spans", "entities", "label", "labels")
TEXTS = (
    "text",
    "sentence",
    "utterance",
    "content",
    "query",
    "question",
    "review",
    "comment",
    "body",
    "title",
)
PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("text", "text_pair"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "document"),
)
LABELS = (
    "label", "labels", "intent", "class", "category", "target", "sentiment", "topic", "topics", "gold",
    "score", "rating", "y",
)  # fmt: skip
_LOOKED_AT = 200
Answers = Literal["text", "whole numbers", "numbers"]
# Types of MLflow's signatures, and of the arrays in them.
_ANSWERS: dict[str, Answers] = {
    "string": "text", "str": "text", "object": "text",
    "integer": "whole numbers", "long": "whole numbers", "int32": "whole numbers", "int64": "whole numbers",
    "float": "numbers", "double": "numbers", "float32": "numbers", "float64": "numbers",
}  # fmt: skip
_PIPELINES = {
    "token-classification": "token_classification",
    "text-classification": "sequence_classification",
}


class ModelFacts(NamedTuple):
    """What a model shows of its task without being run.

    Attributes:
        described: Its architecture, in words.
        head: Head of a checkpoint or graph; None for a model that reads rows.
        labels: Labels of its outputs; empty if it names none.
        problem_type: Kind of the loss that it was trained with, if recorded.
        reads_rows: Whether it reads rows, and shows no task.
        answers: Type of its answers, if it reads rows and its signature has one; only a hint.
    """

    described: str
    head: str | None = None
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    reads_rows: bool = False
    answers: Answers | None = None


class Remark(NamedTuple):
    """Something that was inferred.

    Attributes:
        found: What, and why.
        settings: Settings of ``data.task`` that say otherwise; empty if there are none.
    """

    found: str
    settings: str = ""


class Inferred(NamedTuple):
    """An inferred task.

    Attributes:
        task: Settings of the task.
        is_labelled: Whether the data have labels.
        is_certain: Whether the user or a head names the kind; else it is a guess.
        remarks: What was taken, and why.
    """

    task: dict[str, Any]
    is_labelled: bool
    is_certain: bool = True
    remarks: tuple[Remark, ...] = ()


def read_facts(config: Mapping[str, Any] | None, mlmodel: Mapping[str, Any] | None) -> ModelFacts | None:
    """Read what a model's own files show of its task; None if they show nothing.

    Args:
        config: Content of ``config.json``, as transformers writes it; None without one.
        mlmodel: Content of ``MLmodel``, as MLflow writes it; None without one.
    """
    facts = None if config is None else _read_config(config)
    return facts or (None if mlmodel is None else _read_mlmodel(mlmodel))


def _read_config(config: Mapping[str, Any]) -> ModelFacts | None:
    place = Path(CONFIG_FILE)
    try:
        architecture, problem_type = read_architecture(place, config), read_problem_type(place, config)
    except CheckpointError:
        return None
    try:
        labels = read_label_names(place, dict(config))
    except CheckpointError:
        labels = ()
    return ModelFacts(architecture, find_head(architecture), labels, problem_type)


def _read_mlmodel(mlmodel: Mapping[str, Any]) -> ModelFacts | None:
    flavors = mlmodel.get("flavors")
    names = sorted(map(str, flavors)) if isinstance(flavors, dict) else []
    described = f"an MLflow model ({', '.join(names)})"
    pipeline = flavors.get("transformers") if isinstance(flavors, dict) else None
    head = _PIPELINES.get(str(pipeline.get("task"))) if isinstance(pipeline, dict) else None
    if head is not None:
        return ModelFacts(described, head)
    answers = _read_answers(mlmodel.get("signature"))
    return ModelFacts(described, reads_rows=True, answers=answers) if answers else None


def _read_answers(signature: object) -> Answers | None:
    """Read the type of the answers from a signature; None unless it has one value a row."""
    text = signature.get("outputs") if isinstance(signature, dict) else None
    try:
        outputs = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        return None
    array = outputs[0].get("tensor-spec")
    if not isinstance(array, dict):
        return _ANSWERS.get(str(outputs[0].get("type")))
    shape = array.get("shape")
    is_flat = isinstance(shape, list) and len(shape) == 1
    return _ANSWERS.get(str(array.get("dtype"))) if is_flat else None


def infer_task(
    models: Mapping[str, ModelFacts], rows: Sequence[Row], given: Mapping[str, Any], place: str
) -> Inferred:
    """Infer the task of models and data.

    Args:
        models: What each model shows, by name.
        rows: Rows of the data file; none without a file.
        given: Settings of the task that the user gave; they win.
        place: Name of the data file, for messages.

    Raises:
        ConfigError: The models have different tasks, or show none and the data do not either.
        DataError: The fields of the data leave open which one holds the text.
    """
    sample = [row.values for row in rows[:_LOOKED_AT] if not isinstance(row.values, str)]
    columns = list(dict.fromkeys(str(name) for row in sample for name in row))
    kind, why, more = _choose_kind(models, sample, columns, given)
    remarks = [Remark(f"task {kind}: {why}")] if why else []
    if kind == "token_classification":
        fields, told = _find_word_fields(columns, given)
    elif kind in ("text_classification", "text_regression"):
        fields, told = _find_text_fields(kind, sample, columns, given, place)
    else:
        fields, told = {}, []
    task = {"kind": kind, **more, **fields, **given}
    label_field = _label_field_of(task)
    is_labelled = kind not in ("token_classification", "text_classification", "text_regression") or any(
        row.get(name) is not None for row in sample for name in label_field
    )
    if "labels" not in task and is_labelled and kind != "text_regression":
        names = _name_numbers(models, sample, label_field)
        if names:
            task["labels"] = list(names)
            found = f"labels: the data have numbers, named in the order of the models: {_list_some(names)}"
            told.append(Remark(found, "labels=[A,B]"))
    is_certain = "kind" in given or any(not model.reads_rows for model in models.values())
    return Inferred(task, is_labelled, is_certain, (*remarks, *told))


def _choose_kind(
    models: Mapping[str, ModelFacts],
    sample: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    given: Mapping[str, Any],
) -> tuple[str, str, dict[str, Any]]:
    """Choose the kind of the task; return it with the reason and with further settings."""
    if "kind" in given:
        return str(given["kind"]), "", {}
    found: dict[tuple[TaskKind, bool], list[str]] = {}
    for name, model in models.items():
        if not model.reads_rows:
            found.setdefault(_kind_of(name, model), []).append(name)
    if len(found) > 1:
        listed = "; ".join(
            f"{_describe_kind(kind)}: {', '.join(f'{name} ({models[name].described})' for name in names)}"
            for kind, names in found.items()
        )
        raise ConfigError([f"the models have different tasks: {listed}; use models of one task"])
    if found:
        ((kind, is_multi), names) = next(iter(found.items()))
        why = f"{names[0]} is {models[names[0]].described}"
        if kind == "text_classification" and all(models[name].problem_type is None for name in names):
            is_multi = _holds_lists(_list_labels(sample, columns, given)[1])
        return kind, why, {"multi_label": True} if is_multi else {}
    hint = next(((name, model) for name, model in models.items() if model.answers), None)
    if not sample and hint is not None:
        kind = "text_regression" if hint[1].answers == "numbers" else "text_classification"
        return kind, f"{hint[0]} is {hint[1].described} that answers {hint[1].answers}", {}
    return _kind_of_data(sample, columns, given)


def _kind_of(name: str, model: ModelFacts) -> tuple[TaskKind, bool]:
    if model.head == "token_classification":
        return "token_classification", False
    if model.head == "sequence_classification":
        if model.problem_type == "regression" or len(model.labels) == 1:
            return "text_regression", False
        return "text_classification", model.problem_type == "multi_label_classification"
    fix = (
        "use models with a head for token or sequence classification, or measure the cost alone with --inputs"
    )
    raise ConfigError([f"{name}: found {model.described}; {fix}"])


def _describe_kind(kind: tuple[TaskKind, bool]) -> str:
    return f"{kind[0]} with several labels" if kind[1] else kind[0]


def _kind_of_data(
    sample: Sequence[Mapping[str, Any]], columns: Sequence[str], given: Mapping[str, Any]
) -> tuple[str, str, dict[str, Any]]:
    """Choose the kind by the labels of the data, if no model shows its task."""
    if any(name in columns for name in TOKENS) or given.get("tokens_field"):
        return "token_classification", "the data have lists of words", {}
    field, values = _list_labels(sample, columns, given)
    if not values:
        fix = "give them with --set data.task.kind=text_classification --set data.task.label_field=FIELD"
        raise ConfigError(
            [f"task: no model shows its task, and no field of the data is known as a label; {fix}"]
        )
    if _holds_lists(values):
        return "text_classification", f"{field!r} holds lists of labels", {"multi_label": True}
    if any(isinstance(value, float) and not value.is_integer() for value in values):
        return "text_regression", f"{field!r} holds numbers", {}
    return "text_classification", f"{field!r} holds labels", {}


def _list_labels(
    sample: Sequence[Mapping[str, Any]], columns: Sequence[str], given: Mapping[str, Any]
) -> tuple[str | None, list[Any]]:
    """List the values of the field that holds a label or number; return its name with them."""
    field = given.get("label_field") or given.get("target_field") or _first(LABELS, columns)
    return field, [row[field] for row in sample if row.get(field) is not None] if field else []


def _holds_lists(values: Sequence[Any]) -> bool:
    return any(isinstance(read_list(value), list) for value in values)


def _find_word_fields(
    columns: Sequence[str], given: Mapping[str, Any]
) -> tuple[dict[str, str], list[Remark]]:
    """Find the fields of words and tags, or of text and spans."""
    tokens, tags = _first(TOKENS, columns), _first(TAGS, columns)
    if tokens is not None and "text_field" not in given:
        fields = {"tokens_field": tokens, **({"tags_field": tags} if tags else {})}
        shown = f"words in {tokens!r}" + (f", tags in {tags!r}" if tags else "")
        return fields, [Remark(shown, "tokens_field or tags_field=FIELD")]
    text, spans = _first(TEXTS, columns), _first(SPANS, columns)
    if text is None:
        return {}, []  # the task reads its own names, and says what is missing
    fields = {"text_field": text, **({"annotations_field": spans} if spans else {})}
    shown = f"text in {text!r}" + (f", spans in {spans!r}" if spans else "")
    return fields, [Remark(shown, "text_field or annotations_field=FIELD")]


def _find_text_fields(
    kind: str,
    sample: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    given: Mapping[str, Any],
    place: str,
) -> tuple[dict[str, str], list[Remark]]:
    """Find the fields of a text, or a pair, and of the label or number."""
    if not sample:
        return {}, []  # plain lines of text
    target = "target_field" if kind == "text_regression" else "label_field"
    label = given.get(target) or _first(LABELS, columns)
    texts = [name for name in columns if name != label and _is_text(sample, name)]
    pair = next(((one, other) for one, other in PAIRS if one in texts and other in texts), None)
    fields: dict[str, str] = {} if label is None else {target: str(label)}
    if "text_field" in given:
        text = str(given["text_field"])
    elif pair is not None and "pair_field" not in given:
        text, fields["pair_field"] = pair
    else:
        named = _first(TEXTS, texts) or (texts[0] if len(texts) == 1 else None)
        if named is None:
            raise DataError(
                place,
                found=f"the fields {', '.join(columns[:10]) or 'none'}",
                expected="one that is known to hold the text; name it with --set data.task.text_field=FIELD",
            )
        text = named
    fields["text_field"] = text
    shown = f"text in {text!r}"
    shown += f" and {fields['pair_field']!r}" if "pair_field" in fields else ""
    shown += (
        f", {'number' if kind == 'text_regression' else 'label'} in {label!r}" if label else ", no labels"
    )
    return fields, [Remark(shown, f"text_field or {target}=FIELD")]


def _label_field_of(task: Mapping[str, Any]) -> tuple[str, ...]:
    names = {
        "token_classification": (("tags_field", "ner_tags"), ("annotations_field", "annotations")),
        "text_classification": (("label_field", "label"),),
        "text_regression": (("target_field", "label"),),
    }
    return tuple(str(task.get(name, default)) for name, default in names.get(str(task["kind"]), ()))


def _name_numbers(
    models: Mapping[str, ModelFacts], sample: Sequence[Mapping[str, Any]], fields: Sequence[str]
) -> tuple[str, ...]:
    """Return names for labels that are numbers: those of the models, if all have the same order."""
    values = [row.get(field) for row in sample for field in fields]
    flat = [each for value in values for each in (value if isinstance(value, list) else [value])]
    known = [each for each in flat if each is not None]
    if not known or not all(map(_is_number, known)):
        return ()
    orders = {model.labels for model in models.values() if model.labels}
    if len(orders) > 1:
        found = f"the data have numbers, and the models name them in {count(len(orders), 'order')}"
        raise ConfigError([f"labels: {found}; give the right one with --set data.task.labels=[A,B]"])
    return next(iter(orders), ())


def _is_text(sample: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(isinstance(row.get(name), str) for row in sample)


def _is_number(value: object) -> bool:
    """Return whether a label is a number; a table holds numbers as text."""
    return type(value) is int or (isinstance(value, str) and value.isascii() and value.isdecimal())


def _first(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """Return the first name that is a column, in any case of letters."""
    known = {column.casefold(): column for column in reversed(columns)}
    return next((known[name] for name in names if name in known), None)


def _list_some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
