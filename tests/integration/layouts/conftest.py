"""Real MLflow stores on SQLite, written as other programs write them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from bakeoff.orchestrator import Project, open_project
from bakeoff.stores.tags import PARENT_RUN_ID
from bakeoff.stores.tracking import create_client

ARCHIVE = "best_trial_checkpoint.tar.gz"
CONFIG: dict[str, dict[str, Any]] = {
    "data": {"test": "test.jsonl"},
    "hpo": {"objective": {"metric": "macro-f1", "direction": "maximize"}},
}


@dataclass
class Store:
    """A SQLite store in a folder, and short ways to fill it through MLflow's client."""

    folder: Path
    client: MlflowClient
    experiments: dict[str, str] = field(default_factory=dict)
    clock_ms: int = 1_700_000_000_000

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def experiment(self, name: str) -> str:
        if name not in self.experiments:
            location = (self.folder / "artifacts" / str(len(self.experiments))).as_uri()
            self.experiments[name] = self.client.create_experiment(name, artifact_location=location)
        return self.experiments[name]

    def run(
        self,
        tags: Mapping[str, str],
        *,
        parent: str | None = None,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        status: str = "FINISHED",
        experiment: str = "sweep",
        start_ms: int | None = None,
    ) -> str:
        """Write one run, whole; a run that is not told when starts a second after the one before."""
        self.clock_ms += 1000
        own = {**tags, **({PARENT_RUN_ID: parent} if parent else {})}
        created = self.client.create_run(
            self.experiment(experiment), start_time=start_ms or self.clock_ms, tags=own
        )
        run_id = str(created.info.run_id)
        rows = [Metric(name, value, self.clock_ms, 0) for name, value in (metrics or {}).items()]
        if rows or params:
            self.client.log_batch(run_id, rows, [Param(*item) for item in (params or {}).items()])
        if status != "RUNNING":
            self.client.set_terminated(run_id, status)
        return run_id

    def tag(self, run_id: str, **tags: str) -> None:
        self.client.log_batch(run_id, tags=[RunTag(name, text) for name, text in tags.items()])

    def log_file(self, run_id: str, name: str, content: bytes = b"x", folder: str | None = None) -> None:
        path = self.folder / "upload" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.client.log_artifact(run_id, str(path), folder)

    def project(self, layout: str, backbones: Mapping[str, Mapping[str, str]], **changes: Any) -> Project:
        """Open a project in the store's folder that reads it."""
        sections = {stage: dict(section) for stage, section in CONFIG.items()}
        sections["hpo"]["backbones"] = {name: dict(row) for name, row in backbones.items()}
        sections["tracking"] = {"layout": layout, "sweep_experiment": "sweep"}
        for stage, section in changes.items():
            sections[stage] = {**sections.get(stage, {}), **section}
        config = self.folder / "bakeoff.yaml"
        config.write_text(yaml.safe_dump(sections), encoding="utf-8")
        return open_project(config)


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    """An empty store in a folder of its own."""
    return open_store(empty_store, tmp_path)


@pytest.fixture
def make_store(empty_store: Path, tmp_path: Path) -> Callable[[str], Store]:
    """Makes any number of empty stores."""
    return lambda name: open_store(empty_store, tmp_path / name)


def open_store(empty_store: Path, folder: Path) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(empty_store, folder / "mlflow.db")
    return Store(folder, create_client(f"sqlite:///{folder / 'mlflow.db'}"))


@dataclass(frozen=True)
class CodeSweep:
    """Ids of what one sweep of the layout ``code`` wrote."""

    parent: str
    trials: tuple[str, ...]
    refit: str | None


def write_code_sweep(
    store: Store,
    scores: Sequence[float],
    *,
    backbone: str = "distilbert",
    study: str = "a",
    folds: int = 0,
    refit_of: int | None = None,
    start_ms: Sequence[int] | None = None,
    version: str = "2.0",
    experiment: str = "sweep",
    is_archived: bool = True,
) -> CodeSweep:
    """Write a parent, its trials and the refit of one of them, as projects that tag with ``code.*`` do.

    Without folds, metric and params of a trial stand on a training run inside it.
    """
    shared = {"code.study_key_hash": study * 64, "code.backbone": backbone, "code.model": "token-classifier"}
    parent = store.run(
        {
            "code.stage": "hpo_sweep",
            "code.study.key_schema_version": version,
            "code.fingerprint.data": "d" * 64,
            "code.fingerprint.eval": "e" * 64,
            "code.objective.direction": "maximize",
            "code.artifact.available": "true",
            **shared,
        },
        params={"backbone": backbone},
        experiment=experiment,
    )
    trials = []
    for number, score in enumerate(scores):
        values: dict[str, Any] = {"metrics": {"macro-f1": score}, "params": {"learning_rate": f"{number}e-5"}}
        trial = store.run(
            {"code.stage": "hpo_trial", "code.trial_key_hash": f"{number:064x}", **shared},
            parent=parent,
            experiment=experiment,
            start_ms=start_ms[number] if start_ms else None,
            **(values if folds else {}),
        )
        trials.append(trial)
        for fold in range(folds):
            tags = {"code.stage": "hpo_trial", "fold_idx": str(fold), "trial_number": str(number)}
            metrics = {"macro-f1": score + (fold - (folds - 1) / 2) / 1000}
            store.run(tags, parent=trial, metrics=metrics, experiment=experiment)
        if not folds:
            store.run({"trial_number": str(number)}, parent=trial, experiment=experiment, **values)
    refit = None
    if refit_of is not None:
        tags = {
            "code.stage": "hpo_refit",
            "code.trial_key_hash": f"{refit_of:064x}",
            "code.refit.of_trial_run_id": trials[refit_of],
            "code.artifact.available": "true",
            **shared,
        }
        refit = store.run(tags, parent=parent, metrics={"macro-f1": 0.1}, experiment=experiment)
        if is_archived:
            store.log_file(refit, ARCHIVE)
    return CodeSweep(parent, tuple(trials), refit)
