"""Inference of task and fields: what people's models and files show, and what is asked where they do not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bakeoff.errors import ConfigError, DataError, UserError
from bakeoff.measure.tasks.rows import Row
from bakeoff.orchestrator.infer import Inferred, ModelFacts, infer_task

NER = ModelFacts("BertForTokenClassification", "token_classification", ("O", "B-PER", "I-PER"))
TEXT = ModelFacts("BertForSequenceClassification", "sequence_classification", ("neg", "pos"))
MULTI = ModelFacts("X", "sequence_classification", ("a", "b"), "multi_label_classification")
NUMBER = ModelFacts("RobertaForSequenceClassification", "sequence_classification", ("LABEL_0",))
ROWS = ModelFacts("a model that reads rows (pyfunc)", reads_rows=True)
OTHER = ModelFacts("BertForMaskedLM")


def infer(models: list[ModelFacts], *rows: Any, **given: Any) -> Inferred:
    named = {f"m{number}": model for number, model in enumerate(models)}
    made = [Row(f"x.jsonl:{number}", row) for number, row in enumerate(rows, 1)]
    return infer_task(named, made, given, "x.jsonl")


@pytest.mark.parametrize(
    ("models", "row", "task"),
    [
        ([NER], {"tokens": ["a"], "ner_tags": ["O"]}, {"tokens_field": "tokens", "tags_field": "ner_tags"}),
        ([NER], {"words": ["a"], "labels": ["O"]}, {"tokens_field": "words", "tags_field": "labels"}),
        ([NER], {"text": "a", "spans": []}, {"text_field": "text", "annotations_field": "spans"}),
        ([TEXT], {"text": "a", "label": "pos"}, {"text_field": "text", "label_field": "label"}),
        (
            [TEXT],
            {"id": 3, "Utterance": "a", "intent": "pos"},
            {"text_field": "Utterance", "label_field": "intent"},
        ),
        ([TEXT], {"odd name": "a", "label": "pos"}, {"text_field": "odd name"}),
        (
            [TEXT],
            {"premise": "a", "hypothesis": "b", "label": "pos"},
            {"text_field": "premise", "pair_field": "hypothesis"},
        ),
        ([TEXT], {"question": "a", "sentence": "b", "label": "pos"}, {"pair_field": "sentence"}),
        ([MULTI], {"text": "a", "topics": ["a"]}, {"multi_label": True, "label_field": "topics"}),
        ([TEXT], {"text": "a", "topics": ["neg", "pos"]}, {"multi_label": True, "label_field": "topics"}),
        ([NUMBER], {"text": "a", "score": 0.5}, {"target_field": "score"}),
        ([ROWS], {"text": "a", "label": "x"}, {"kind": "text_classification", "label_field": "label"}),
        ([ROWS], {"text": "a", "label": ["x"]}, {"kind": "text_classification", "multi_label": True}),
        ([ROWS], {"text": "a", "score": 0.25}, {"kind": "text_regression", "target_field": "score"}),
        ([ROWS], {"tokens": ["a"], "tags": ["O"]}, {"kind": "token_classification", "tags_field": "tags"}),
        ([TEXT, ROWS], {"text": "a", "label": 1}, {"labels": ["neg", "pos"]}),
        ([TEXT], {"text": "a", "label": "1"}, {"labels": ["neg", "pos"]}),
        ([NER], {"tokens": ["a"], "ner_tags": [0]}, {"labels": ["O", "B-PER", "I-PER"]}),
    ],
)
def test_task_and_fields_are_taken_and_told(models: list[ModelFacts], row: dict[str, Any], task: Any) -> None:
    found = infer(models, row, row)
    assert {name: found.task.get(name) for name in task} == task
    assert found.is_labelled
    said = " ".join(remark.found for remark in found.remarks)
    assert f"task {found.task['kind']}: " in said
    assert all(repr(value) in said for name, value in task.items() if name.endswith("_field"))
    assert any(remark.settings for remark in found.remarks)


def test_a_file_without_labels_is_judged_by_cost_alone() -> None:
    for row in ({"text": "a"}, {"text": "a", "label": None}):
        assert not infer([TEXT], row).is_labelled
    plain = infer([TEXT], "a text", "another")
    assert plain.task == {"kind": "text_classification"}
    assert not plain.is_labelled


def test_what_the_user_gives_wins() -> None:
    row = {"title": "a", "body": "b", "label": "pos", "other": "neg"}
    found = infer([TEXT], row, text_field="body", label_field="other")
    assert (found.task["text_field"], found.task["label_field"]) == ("body", "other")
    assert infer([TEXT], {"a": "x", "b": "y"}, text_field="b").task["text_field"] == "b"
    assert infer([OTHER], {"text": "a"}, kind="custom", function="a:b").task["kind"] == "custom"
    assert infer([TEXT], {"text": "a", "label": 0}, labels=["A", "B"]).task["labels"] == ["A", "B"]


@pytest.mark.parametrize(
    ("models", "row", "message"),
    [
        (
            [NER, TEXT],
            {"text": "a"},
            r"different tasks: token_classification: m0 \(Bert.*\); text_classification: m1 .*; use models",
        ),
        ([TEXT, MULTI], {"text": "a"}, "text_classification with several labels: m1"),
        ([TEXT, NUMBER], {"text": "a"}, "different tasks"),
        ([OTHER], {"text": "a"}, "m0: found BertForMaskedLM; use models with a head"),
        ([ROWS], {"text": "a"}, "no model shows its task, and no field of the data is known as a label"),
        (
            [TEXT],
            {"left": "a", "right": "b", "label": "pos"},
            "found the fields left, right, label; ",
        ),
        (
            [TEXT, ModelFacts("X", "sequence_classification", ("pos", "neg"))],
            {"text": "a", "label": 1},
            "the models name them in 2 orders",
        ),
    ],
)
def test_what_is_left_open_is_asked_in_one_line(
    models: list[ModelFacts], row: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        infer(models, row)
    assert isinstance(caught.value, (ConfigError, DataError))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
