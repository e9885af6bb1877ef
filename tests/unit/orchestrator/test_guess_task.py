"""The task of a new configuration: what the models record, or a guess that says so."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bakeoff.core.config.data import DataSettings
from bakeoff.measure.tasks.rows import Row
from bakeoff.orchestrator.infer import ModelFacts, read_facts
from bakeoff.orchestrator.setup.discover import FoundObjective, Proposal
from bakeoff.orchestrator.setup.guess_task import Labelled, guess_task
from bakeoff.orchestrator.setup.write_config import draft_config

NER = {"architectures": ["BertForTokenClassification"], "id2label": {"0": "O", "1": "B-PER"}}
TEXT = {"architectures": ["DistilBertForSequenceClassification"], "id2label": {"0": "no", "1": "yes"}}
UNNAMED = {"architectures": ["BertForSequenceClassification"]}
NUMBER = {"architectures": ["RobertaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
MULTI = {**TEXT, "problem_type": "multi_label_classification"}
BASE = {"architectures": ["BertForMaskedLM"]}


def mlmodel(*outputs: str, **flavors: Any) -> dict[str, Any]:
    signature = {"signature": {"inputs": "[]", "outputs": f"[{', '.join(outputs)}]"}} if outputs else {}
    return {"flavors": {"python_function": {}, **(flavors or {"sklearn": {}})}, **signature}


COLUMN = '{"type": "%s", "required": true}'
ARRAY = '{"type": "tensor", "tensor-spec": {"dtype": "%s", "shape": %s}}'


def test_what_models_record_is_taken() -> None:
    taken: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
        (NER, {"kind": "token_classification"}),
        (TEXT, {"kind": "text_classification"}),
        (UNNAMED, {"kind": "text_classification"}),
        (NUMBER, {"kind": "text_regression"}),
        (MULTI, {"kind": "text_classification", "multi_label": True}),
    )
    for config, settings in taken:
        facts = read_facts(config, None)
        assert facts is not None
        found = guess_task({"small": facts}, None)
        assert (found.settings, found.is_guess) == (settings, False)
        assert found.basis[0] == f"task {settings['kind']}: small is {config['architectures'][0]}"
    found = guess_task({"small": ModelFacts("X", "sequence_classification", ("a", "b"))}, None)
    assert found.basis[1] == (
        "no model records its problem_type; add multi_label: true if a text has several labels"
    )
    pipeline = read_facts(None, mlmodel(transformers={"task": "token-classification"}))
    assert pipeline is not None
    assert guess_task({"a": pipeline}, None).settings == {"kind": "token_classification"}


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (COLUMN % "string", "text_classification"),
        (COLUMN % "long", "text_classification"),
        (COLUMN % "double", "text_regression"),
        (ARRAY % ("str", "[-1]"), "text_classification"),
        (ARRAY % ("object", "[-1]"), "text_classification"),
        (ARRAY % ("float64", "[-1]"), "text_regression"),
    ],
)
def test_a_signature_gives_a_guess_that_says_so(output: str, kind: str) -> None:
    facts = read_facts(None, mlmodel(output))
    assert facts is not None
    found = guess_task({"tfidf": facts}, None)
    assert (found.settings, found.is_guess) == ({"kind": kind}, True)
    assert found.basis[0].startswith(
        f"task {kind}: tfidf is an MLflow model (python_function, sklearn) that answers "
    )
    assert found.basis[0].endswith("; a guess")
    assert len(found.basis) == 1


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"flavors": 3, "signature": 3},
        mlmodel(),
        mlmodel(COLUMN % "binary"),
        mlmodel(COLUMN % "string", COLUMN % "double"),
        mlmodel(ARRAY % ("float64", "[-1, 2]")),
        mlmodel("{"),
        mlmodel("[" * 20_000),
        mlmodel("3"),
    ],
)
def test_an_odd_mlmodel_shows_nothing(model: dict[str, Any]) -> None:
    assert read_facts(None, model) is None


@pytest.mark.parametrize("config", [{}, {"architectures": 3}, {**TEXT, "problem_type": "odd"}])
def test_an_odd_configuration_shows_nothing(config: dict[str, Any]) -> None:
    assert read_facts(config, None) is None


def test_models_that_show_nothing_or_disagree_leave_a_guess_with_the_reason() -> None:
    facts = {name: read_facts(config, None) for name, config in (("a", NER), ("b", TEXT), ("c", BASE))}
    shown = {name: each for name, each in facts.items() if each is not None}
    for names, reason in (
        ("", "no champion shows its task"),
        (
            "ab",
            "the models have different tasks: token_classification: a (BertForTokenClassification); text_cla",
        ),
        ("c", "c: found BertForMaskedLM; use models with a head"),
    ):
        found = guess_task({name: shown[name] for name in names}, None)
        assert (found.settings, found.is_guess) == ({"kind": "token_classification"}, True)
        assert (
            f"task token_classification: a guess, since bakeoff cannot infer it: {reason}" in found.basis[0]
        )


def labelled(*rows: dict[str, Any]) -> Labelled:
    return Labelled("data/test.jsonl", [Row(f"test.jsonl:{n}", row) for n, row in enumerate(rows, 1)])


def test_documents_give_the_fields_and_without_models_a_guess_of_the_kind() -> None:
    text = ModelFacts("XForSequenceClassification", "sequence_classification", ("a", "b"))
    found = guess_task({"m": text}, labelled({"text": "x", "intent": "a"}))
    assert found.settings == {"kind": "text_classification", "label_field": "intent", "text_field": "text"}
    assert (found.is_guess, found.documents) == (False, "data/test.jsonl")
    several = guess_task({"m": text}, labelled({"text": "x", "topics": ["a", "b"]}))
    assert several.settings["multi_label"] is True
    alone = guess_task({}, labelled({"text": "x", "score": 0.5}))
    assert (alone.settings["kind"], alone.is_guess) == ("text_regression", True)
    unknown = guess_task({"m": text}, labelled({"left": "x", "right": "y", "intent": "a"}))
    assert unknown.is_guess
    assert "found the fields left, right, intent; expected one that is known to hold the text" in str(
        unknown.basis
    )


def draft(proposal: Proposal) -> str:
    return draft_config(proposal, "sqlite:///mlflow.db")["data"]


def test_the_written_file_holds_the_task_its_basis_and_a_todo_for_a_guess() -> None:
    objective = FoundObjective(metric="f1", direction="maximize", is_recorded=True)
    proposal = Proposal(experiments=(), layout="code", objective=objective)
    facts = read_facts(TEXT, None)
    assert facts is not None
    sure = draft(proposal.replace(task=guess_task({"m": facts}, labelled({"text": "x", 'odd "#: é': "a"}))))
    assert "TODO" not in sure
    assert "# task text_classification: m is DistilBertForSequenceClassification\n" in sure
    assert DataSettings(**yaml.safe_load(sure)).test == "data/test.jsonl"
    guess = draft(proposal.replace(task=guess_task({}, None)))
    assert guess.count("# TODO") == 2
    assert "# TODO: check the task, a guess; allowed are token_classification, text_class" in guess
    assert yaml.safe_load(guess) == {"task": "token_classification", "max_length": 128}
    hostile = ModelFacts("X\ntask: tensors #ForSequenceClassification", "sequence_classification", ("a", "b"))
    assert yaml.safe_load(draft(proposal.replace(task=guess_task({"m": hostile}, None))))["task"] == (
        "text_classification"
    )
