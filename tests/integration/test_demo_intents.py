"""The demo's second act, as far as seconds show it: its sentences, its configuration, its baseline."""

from __future__ import annotations

import json
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlflow
import pytest

from bakeoff.demo import BASELINE, log_baseline
from bakeoff.demo.workspace import INTENTS_CONFIG, INTENTS_FOLDER
from bakeoff.orchestrator import Project, open_project
from bakeoff.orchestrator.named_models import identify_model
from bakeoff.stores.tracking import create_client


def read_rows(name: str) -> list[dict[str, Any]]:
    text = files("bakeoff.demo").joinpath("data", name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def project(empty_store: Path, tmp_path: Path) -> Project:
    """The folder of the second act below an empty store, without backbones."""
    package, demo = Path(str(files("bakeoff.demo"))), tmp_path / "demo"
    for part in ("data", INTENTS_FOLDER):
        shutil.copytree(package / part, demo / part)
    shutil.copyfile(empty_store, demo / "mlflow.db")
    return open_project(demo / INTENTS_FOLDER / INTENTS_CONFIG)


@pytest.mark.parametrize(("name", "count"), [("train", 300), ("test", 689)])
def test_both_acts_have_the_same_sentences_in_the_same_order(name: str, count: int) -> None:
    slots, intents = read_rows(f"{name}.jsonl"), read_rows(f"intents_{name}.jsonl")
    assert len(intents) == count
    assert [re.sub(r"\s", "", row["text"]) for row in intents] == [
        "".join(row["tokens"]) for row in slots[:count]
    ]


def test_the_second_act_trains_on_every_intent_that_it_tests(project: Project) -> None:
    seen = {(document.labels or ())[0] for document in project.corpus.train}  # type: ignore[union-attr]
    assert seen == set(project.corpus.labels)
    assert len(seen) == 7


def test_the_baseline_is_logged_once_and_is_the_model_that_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    assert log_baseline(project) is True
    assert log_baseline(project) is False
    assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == "sqlite:///mine.db"
    client = create_client(project.tracker.uri)
    assert [int(version.version) for version in client.search_model_versions()] == [1]
    source = project.settings.models["tfidf"]
    assert source.source == BASELINE
    model = identify_model(project, "tfidf", source)
    answers = mlflow.pyfunc.load_model(str(model.checkpoint_path)).predict([{"text": "play some jazz"}])
    assert list(answers) == ["PlayMusic"]
