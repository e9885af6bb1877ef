"""Tasks on whole texts: every stage, with each runtime, and numbers that another library computes alike."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.core.records import Measurement
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.statistics.readings import OUTCOMES
from bakeoff.measure.tasks.documents import TextDocument
from bakeoff.orchestrator import (
    Project,
    bench,
    decide,
    open_project,
    plan,
    promote,
    save_decision,
    select_champions,
    sweep,
)
from bakeoff.orchestrator.checkpoints import find_checkpoint
from integration.test_serving import ask, served
from judged import quality_of
from once import make_once

Row = dict[str, Any]
N_TRAIN, N_TEST = 160, 60
CITIES = ("weather", "forecast", "temperature")


def read_lines(name: str, count: int) -> list[list[str]]:
    text = files("bakeoff.demo").joinpath("data", name).read_text(encoding="utf-8")
    return [json.loads(line)["tokens"] for line in text.splitlines()[:count]]


def label_of(words: list[str]) -> str:
    """A label that a model can learn from single words."""
    lower = {word.lower() for word in words}
    if lower & {"play", "song", "music", "album"}:
        return "music"
    return "book" if lower & {"book", "table", "restaurant", "novel"} else "other"


def single(words: list[str]) -> Row:
    return {"text": " ".join(words), "label": label_of(words)}


def numbered(words: list[str]) -> Row:
    return {"text": " ".join(words), "label": ("book", "music", "other").index(label_of(words))}


def pair(words: list[str]) -> Row:
    middle = max(1, len(words) // 2)
    return {
        "premise": " ".join(words[:middle]),
        "hypothesis": " ".join(words[middle:] or words),
        "label": label_of(words),
    }


def several(words: list[str]) -> Row:
    found = sorted({label_of([word]) for word in words} - {"other"})
    return {"text": " ".join(words), "topics": found}


def number(words: list[str]) -> Row:
    return {"text": " ".join(words), "score": len(words) / 10 + (label_of(words) == "music")}


FORMS: dict[str, tuple[dict[str, Any], Callable[[list[str]], Row], str]] = {
    "single": ({"kind": "text_classification"}, single, "accuracy"),
    "numbered": (
        {"kind": "text_classification", "labels": ["book", "music", "other"]},
        numbered,
        "macro_f1",
    ),
    "pair": (
        {"kind": "text_classification", "text_field": "premise", "pair_field": "hypothesis"},
        pair,
        "mcc",
    ),
    "several": (
        {"kind": "text_classification", "label_field": "topics", "multi_label": True},
        several,
        "micro_f1",
    ),
    "number": ({"kind": "text_regression", "target_field": "score"}, number, "rmse"),
}


def write_rows(path: Path, form: str, lines: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(FORMS[form][1](words)) + "\n" for words in lines), encoding="utf-8")


# Forms that differ from another one only in how the rows are read.
SLOW = ("numbered", "pair", "several", "number")


def runtimes_of(form: str) -> list[str]:
    """Kinds of the runtimes of a form: PyTorch, which is slow to import, in the first only."""
    return ["torch", "onnxruntime"] if form == "single" else ["onnxruntime", "openvino"]


@pytest.fixture(
    scope="session",
    params=[pytest.param(form, marks=[pytest.mark.slow] if form in SLOW else []) for form in FORMS],
)
def folder(
    request: pytest.FixtureRequest,
    tiny_backbone: Path,
    make_project: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A project in which every stage up to the decision was run, with two runtimes."""
    form = str(request.param)
    task, _, metric = FORMS[form]
    direction = "minimize" if metric == "rmse" else "maximize"

    def ship(folder: Path) -> None:
        changes: dict[str, Any] = {
            "data": {"task": task},
            "hpo": {
                "objective": {"metric": metric, "direction": direction},
                "n_trials": 3,
                # An answer with no label at all is right often: it takes longer to learn more.
                "training": {"epochs": 24 if form == "several" else 6},
                "search_space": {"learning_rate": {"kind": "float", "low": 0.004, "high": 0.01}},
            },
            "benchmark": {"runtimes": [{"kind": kind, "threads": 1} for kind in runtimes_of(form)]},
            "decision": {"metric": metric, "when_tied": "fastest"},
        }
        config = make_project(folder, {"tiny": tiny_backbone}, changes)
        write_rows(folder / "data" / "train.jsonl", form, read_lines("train.jsonl", N_TRAIN))
        write_rows(folder / "data" / "test.jsonl", form, read_lines("test.jsonl", N_TEST))
        project = open_project(config)
        assert [result.failure for result in sweep(project)] == [None]
        assert bench(project).failed == ()
        save_decision(project, decide(project))
        (folder / "form").write_text(form)

    return make_once(tmp_path_factory, f"text-{form}", ship)


@pytest.fixture(scope="session")
def project(folder: Path) -> Project:
    return open_project(folder / "config")


def qualities(project: Project) -> Iterator[Measurement]:
    for planned in plan(project).jobs:
        job = planned.job
        if job.scenario.kind == "quality":
            found = project.results.load(job.key, planned.attempt if planned.action == "measure" else 1)
            assert isinstance(found, Measurement)
            yield found


def predict_with_transformers(project: Project) -> tuple[Path, np.ndarray[Any, Any]]:
    """Logits of every test document, one at a time, by transformers' own tokenizer and model."""
    import torch
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    (selection,) = select_champions(project).values()
    assert selection.champion is not None
    checkpoint = find_checkpoint(selection.champion, project)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(checkpoint / "tokenizer.json"), pad_token="[PAD]")
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    rows = []
    with torch.inference_mode():
        for document in project.test_documents:
            assert isinstance(document, TextDocument)
            length = project.settings.data.max_length
            inputs = tokenizer(
                document.text,
                document.second,
                truncation=True,
                max_length=length,
                return_token_type_ids=True,  # else the second text counts as part of the first
                return_tensors="pt",
            )
            rows.append(model(**inputs).logits[0].numpy())
    return checkpoint, np.array(rows)


def expected(project: Project) -> Mapping[str, float]:
    """The metrics as scikit-learn and scipy compute them."""
    from scipy import stats
    from sklearn import metrics

    checkpoint, logits = predict_with_transformers(project)
    task = project.settings.data.task
    labels = task.name_outputs(open_checkpoint(checkpoint).labels)
    documents = [each for each in project.test_documents if isinstance(each, TextDocument)]
    if task.kind == "text_regression":
        targets, found = np.array([each.number for each in documents]), logits[:, 0]
        return {
            "spearman": float(stats.spearmanr(targets, found).statistic),
            "pearson": float(stats.pearsonr(targets, found).statistic),
            "rmse": math.sqrt(metrics.mean_squared_error(targets, found)),
            "mae": metrics.mean_absolute_error(targets, found),
        }
    if task.kind == "text_classification" and task.multi_label:
        actual = np.array([[name in (each.labels or ()) for name in labels] for each in documents])
        predicted = logits > 0
        return {
            "micro_f1": metrics.f1_score(actual, predicted, average="micro"),
            "macro_f1": metrics.f1_score(actual, predicted, average="macro"),
            "subset_accuracy": metrics.accuracy_score(actual, predicted),
        }
    names = [(each.labels or ("",))[0] for each in documents]
    chosen = [labels[at] for at in logits.argmax(axis=1)]
    return {
        "accuracy": metrics.accuracy_score(names, chosen),
        "macro_f1": metrics.f1_score(names, chosen, average="macro"),
        "micro_f1": metrics.f1_score(names, chosen, average="micro"),
        "weighted_f1": metrics.f1_score(names, chosen, average="weighted"),
        "balanced_accuracy": metrics.balanced_accuracy_score(names, chosen),
        "mcc": metrics.matthews_corrcoef(names, chosen),
    }


def test_quality_is_what_other_libraries_compute(project: Project, folder: Path) -> None:
    wanted, task = expected(project), project.settings.data.task
    measured = list(qualities(project))
    assert [each.job.runtime.kind for each in measured] == runtimes_of((folder / "form").read_text())
    for measurement in measured:
        reading = measurement.reading(OUTCOMES)
        assert reading is not None
        outcomes = outcomes_of(reading)
        found = {name: metric.value_of(outcomes) for name, metric in task.metrics.items()}
        assert found == pytest.approx(wanted, abs=1e-4)


def test_the_decision_is_by_the_metric_of_the_settings_and_names_a_winner(project: Project) -> None:
    decision = decide(project)
    assert decision.outcome == "winner"
    winner = decision.winning_standing
    assert winner is not None
    metric = project.settings.decision.metric
    assert quality_of(winner).value == pytest.approx(expected(project)[str(metric)], abs=1e-4)
    assert quality_of(winner).low <= quality_of(winner).value


def test_a_model_that_learnt_beats_a_constant_answer(project: Project, folder: Path) -> None:
    found = expected(project)
    form = (folder / "form").read_text()
    if form == "number":
        targets = [each.number for each in project.test_documents if isinstance(each, TextDocument)]
        assert found["rmse"] < float(np.std([float(target or 0) for target in targets]))
    else:
        assert next(iter(found.values())) > 0.6


def test_a_second_bench_measures_nothing(project: Project) -> None:
    assert {planned.action for planned in plan(project).jobs} == {"reuse"}


def test_the_refit_is_reproduced(project: Project) -> None:
    for measurement in qualities(project):
        assert not [flag for flag in measurement.flags if flag.name.startswith("metric_not")]


def ask_promoted(project: Project) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """The columns of a request with all documents, and the answers of the promoted model."""
    import mlflow
    import pandas as pd

    promote(project)
    mlflow.set_tracking_uri(project.tracker.uri)
    model = mlflow.pyfunc.load_model("models:/bakeoff-model@champion", suppress_warnings=True)
    documents = [each for each in project.test_documents if isinstance(each, TextDocument)]
    columns: dict[str, list[str]] = {"text": [each.text for each in documents]}
    if documents[0].second is not None:
        columns["text_pair"] = [each.second or "" for each in documents]
    return columns, model.predict(pd.DataFrame(columns))


@pytest.mark.slow
def test_mlflow_serves_the_answers_of_the_promoted_model(project: Project, tmp_path: Path) -> None:
    columns, answers = ask_promoted(project)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    with served(project, tmp_path, "models:/bakeoff-model@champion") as uri:
        code, reply = ask(uri, {"dataframe_records": rows})
    assert code == 200, reply
    assert len(reply["predictions"]) == len(rows)
    for one, other in zip(reply["predictions"], answers, strict=True):
        assert one == pytest.approx(other) if "labels" not in other else one["labels"] == other["labels"]


def test_the_promoted_model_answers_what_was_measured(project: Project, folder: Path) -> None:
    columns, answers = ask_promoted(project)
    checkpoint, logits = predict_with_transformers(project)
    task = project.settings.data.task
    labels = task.name_outputs(open_checkpoint(checkpoint).labels)
    assert len(answers) == len(columns["text"])
    for answer, row in zip(answers, logits, strict=True):
        if task.kind == "text_regression":
            assert answer["value"] == pytest.approx(float(row[0]), abs=1e-3)
        elif (folder / "form").read_text() == "several":
            assert answer["labels"] == [labels[at] for at in np.flatnonzero(row > 0)]
        else:
            assert answer["label"] == labels[int(row.argmax())]
            assert 1 / len(labels) <= answer["score"] <= 1
