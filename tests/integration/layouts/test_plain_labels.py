"""Plain labels: model and data without prefixes go through every stage; labels that differ are named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.quality import measure_quality
from bakeoff.errors import DataError, UnknownLabelsError
from bakeoff.measure.backends import Torch
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.statistics.readings import OUTCOMES
from bakeoff.measure.tasks.label_schemes import read_entities
from bakeoff.measure.tasks.token_classification import TokenClassification
from bakeoff.orchestrator import Project, bench, benchmark_champions, decide, plan, select_champions
from bakeoff.orchestrator.setup.doctor import Check, check_project, worst_exit_code
from bakeoff.serving import Predictor
from command_line import bakeoff

from .conftest import Store, write_code_sweep
from .test_measuring import PROTOCOL, pack

LABELS = ("O", "SKILL", "PERSON")
QUALITY, LATENCY = {"kind": "quality"}, {"kind": "latency", "batch_sizes": [1]}
Open = Callable[..., Project]


@pytest.fixture
def checkpoint(make_classifier: Callable[..., Path]) -> Path:
    """A model that labels each word by its number in the vocabulary, with plain labels."""
    return make_classifier("bert", LABELS)


@pytest.fixture
def rows(checkpoint: Path) -> list[dict[str, Any]]:
    """Documents whose labels are those that the model was taught."""
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(word for word in vocabulary if word.isalpha())
    draw = random.Random(0)
    texts = [draw.sample(words, k=8) for _ in range(24)]
    return [{"tokens": text, "ner_tags": [LABELS[vocabulary[word] % 3] for word in text]} for text in texts]


@pytest.fixture
def open_with(store: Store, checkpoint: Path) -> Open:
    """Open a project on a sweep of the layout ``code`` whose champion is the model."""
    swept = write_code_sweep(store, (0.7, 0.8, 0.9), refit_of=2, is_archived=False)
    assert swept.refit is not None
    pack(store, swept.refit, checkpoint)

    def reopen(data: object, *scenarios: object, **more: object) -> Project:
        lines = [json.dumps(row) for row in data] if isinstance(data, list) else [str(data)]
        (store.folder / "test.jsonl").write_text("\n".join(lines) + "\n")
        benchmark = {
            "runtimes": [{"kind": "onnxruntime", "threads": 1}],
            "scenarios": list(scenarios) or [QUALITY, LATENCY],
            "protocol": PROTOCOL,
            "accept_contended": True,
        }
        changes = {
            "max_length": 32,
            "train": "missing.jsonl",
            "task": {"kind": "token_classification", **more},
        }
        return store.project("code", {"distilbert": {}}, data=changes, benchmark=benchmark)

    return reopen


def entity_counts(project: Project) -> tuple[float, int]:
    """F1 and number of labelled entities of the one quality measurement."""
    (measured,) = bench(project).measured
    (reading,) = (reading for reading in measured.readings if reading.quantity == OUTCOMES)
    return measure_quality(reading, TokenClassification().find_metric("f1")), sum(reading.columns["actual"])


def checks(project: Project, *names: str) -> Iterator[Check]:
    return (check for check in check_project(project) if check.name in names)


def rename(rows: list[dict[str, Any]], **names: str) -> list[dict[str, Any]]:
    return [{**row, "ner_tags": [names.get(tag, tag) for tag in row["ner_tags"]]} for row in rows]


@pytest.mark.slow
def test_plain_labels_go_through_plan_bench_and_decide(open_with: Open, rows: list[dict[str, Any]]) -> None:
    project = open_with(rows)
    assert [planned.action for planned in plan(project).jobs] == ["measure"] * 2
    result = bench(project)
    assert (len(result.measured), result.failed) == (2, ())
    (reading,) = (
        reading for row in result.measured for reading in row.readings if reading.quantity == OUTCOMES
    )
    assert measure_quality(reading, TokenClassification().find_metric("f1")) > 0.9
    assert list(reading.columns["actual"]) == [len(read_entities(row["ner_tags"], "io")) for row in rows]
    assert [planned.action for planned in plan(project).jobs] == ["reuse"] * 2
    assert len(decide(project).standings) == 1
    (said,) = checks(project, "data.test")
    assert said.found == "test.jsonl: 24 documents, tags in io; 2 labels: PERSON, SKILL"
    (labels,) = checks(project, "labels of distilbert")
    assert (labels.state, labels.found) == ("ok", "the model knows all labels of data.test")


@pytest.mark.slow
def test_other_schemes_of_the_same_data_give_the_same_f1(open_with: Open, rows: list[dict[str, Any]]) -> None:
    numbered = [{**row, "ner_tags": [LABELS.index(tag) for tag in row["ner_tags"]]} for row in rows]
    texts = json.dumps([annotate(row) for row in rows])
    expected = entity_counts(open_with(rows, QUALITY))
    for data, more in ((numbered, {"labels": list(LABELS)}), (texts, {})):
        project = open_with(data, QUALITY, **more)
        (planned,) = plan(project).jobs
        assert planned.action == "reuse"  # the same documents, whatever the file looks like
    single = [{**row, "ner_tags": [as_bioes(row["ner_tags"], at) for at in range(8)]} for row in rows]
    assert entity_counts(open_with(single, QUALITY)) == expected


def annotate(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a text with spans."""
    starts = [sum(len(word) + 1 for word in row["tokens"][:at]) for at in range(9)]
    spans = [
        [starts[first], starts[last + 1] - 1, kind]
        for kind, first, last in read_entities(row["ner_tags"], "io")
    ]
    return {"text": " ".join(row["tokens"]), "annotations": spans}


def as_bioes(tags: list[str], at: int) -> str:
    tag = tags[at]
    before, after = tags[at - 1] if at else "O", tags[at + 1] if at < len(tags) - 1 else "O"
    prefix = {(True, True): "I", (True, False): "E", (False, True): "B", (False, False): "S"}
    return tag if tag == "O" else f"{prefix[before == tag, after == tag]}-{tag}"


def test_a_served_model_with_plain_labels_answers_with_their_runs(
    checkpoint: Path, rows: list[dict[str, Any]]
) -> None:
    model, runtime = open_checkpoint(checkpoint), Torch(threads=1)
    tagger = Predictor(TokenClassification(), runtime.load(model, None), model, max_length=32)
    answers = tagger.predict({"tokens": [row["tokens"] for row in rows]})
    found = [[(e["type"], e["first_word"], e["last_word"]) for e in row["entities"]] for row in answers]
    wanted = [read_entities(row["ner_tags"], "io") for row in rows]
    assert sum(one == other for one, other in zip(found, wanted, strict=True)) > 18


def test_labels_that_the_model_does_not_know_are_named_before_anything_is_measured(
    open_with: Open, rows: list[dict[str, Any]]
) -> None:
    project = open_with(rename(rows, SKILL="B-TOOL", PERSON="B-PERSON"))
    message = (
        "distilbert: found labels in data.test that the model does not know: TOOL; it knows PERSON, SKILL;"
    )
    (before,) = checks(project, "labels of distilbert")
    assert before.found == "the checkpoint is not here yet; bakeoff compares its labels once it is fetched"
    for stage in (plan, bench):
        with pytest.raises(UnknownLabelsError, match=message):
            stage(project)
    assert not (project.root / "results" / "jobs").exists()
    (fault,) = checks(project, "labels of distilbert")
    assert (fault.state, fault.exit_code) == ("fault", 2)
    assert fault.found.startswith(message)
    for command in ("plan", "bench", "doctor"):
        done = bakeoff(project.root, command, "--config", "bakeoff.yaml")
        assert done.returncode == 2
        assert message in " ".join((done.stdout + done.stderr).split())


def test_latency_needs_no_labels_and_no_model_that_knows_them(
    open_with: Open, rows: list[dict[str, Any]]
) -> None:
    texts = json.dumps([" ".join(row["tokens"]) for row in rows])
    for data in (rename(rows, SKILL="TOOL"), texts):
        project = open_with(data, LATENCY)
        result = bench(project)
        assert (len(result.measured), result.failed) == (1, ())
        assert {check.state for check in checks(project, "data.test")} == {"ok"}
        assert not list(checks(project, "labels of distilbert"))
    project = open_with(texts)
    with pytest.raises(DataError, match="24 documents without labels"):
        plan(project)
    (fault,) = checks(project, "data.test")
    assert (fault.state, fault.exit_code) == ("fault", 2)


def test_champions_that_are_given_are_timed_though_their_labels_differ(
    open_with: Open, rows: list[dict[str, Any]]
) -> None:
    project = open_with(rename(rows, SKILL="TOOL"))
    champion = select_champions(project)["distilbert"].champion
    assert champion is not None
    files = benchmark_champions([champion], project)
    assert json.loads(files["distilbert"].read_text())["batch_1"]["median_ms"] > 0
    (failed,) = (row for row in project.results.list_existing([champion.run_id]) if row.state == "failed")
    assert "does not know: TOOL" in failed.reason


def test_a_missing_training_file_hinders_neither_plan_nor_bench(
    open_with: Open, rows: list[dict[str, Any]]
) -> None:
    project = open_with(rows, LATENCY)
    assert project.settings.data.train == "missing.jsonl"
    assert [planned.action for planned in plan(project).jobs] == ["measure"]
    assert len(bench(project).measured) == 1
    (fault,) = checks(project, "data.train")
    assert (fault.state, worst_exit_code([fault])) == ("fault", 2)
    assert "missing.jsonl: found no such file" in fault.found


def test_changed_spans_are_warned_of_once(
    open_with: Open, rows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    data = [annotate(row) for row in rows]
    end = len(data[0]["text"])
    data[0]["annotations"] = [[end - 1, end, "SKILL"]]
    project = open_with(data, QUALITY)
    plan(project)
    plan(project)
    warnings = [record.getMessage() for record in caplog.records if record.name == "bakeoff"]
    remark = "1 span began or ended within a word; bakeoff takes the whole words"
    assert warnings == [f"{project.test_path}: {remark}"]
    assert [check.state for check in checks(project, "data.test")] == ["ok", "warning"]
