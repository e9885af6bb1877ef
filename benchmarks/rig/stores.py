"""Tracking stores of each kind for the benchmarks; they are filled as the tests' large ones are."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bakeoff.stores.tracking import Tracker

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from filling import (
    EPOCH_MS,
    METRIC,
    Run,
    make_id,
    make_refit,
    make_trials,
    open_database,
    shared_tags,
    write_runs,
)
from services import PostgresServer, mlflow_server

KINDS = ("sqlite", "postgresql", "http")


@contextmanager
def open_store(kind: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Open an empty store; yield its URI for bakeoff, and that of the database behind it."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "postgresql":
        server = PostgresServer()
        try:
            server.start()
            uri = server.make_database()
            yield uri, uri
        finally:
            server.stop()
        return
    database = f"sqlite:///{folder / 'mlflow.db'}"
    if kind == "sqlite":
        yield database, database
    else:
        with mlflow_server(database, folder / "server") as uri:
            yield uri, database


def make_experiment(uri: str, name: str) -> str:
    """Make MLflow's tables and an experiment through its client; returns the experiment's id."""
    return Tracker(uri).ensure_experiment(name)


def write_config(folder: Path, uri: str, n_backbones: int, **stages: Mapping[str, object]) -> Path:
    """Open a project that reads the store; JSON is YAML too."""
    sections: dict[str, object] = {
        "tracking": {"uri": uri, "sweep_experiment": "sweep", "benchmark_experiment": "benchmark"},
        "data": {"test": "test.jsonl"},
        "hpo": {"backbones": {f"bert-{number}": {} for number in range(n_backbones)}},
        **stages,
    }
    path = folder / "bakeoff.yaml"
    path.write_text(json.dumps(sections), encoding="utf-8")
    return path


__all__ = [
    "EPOCH_MS",
    "KINDS",
    "METRIC",
    "Run",
    "make_experiment",
    "make_id",
    "make_refit",
    "make_trials",
    "open_database",
    "open_store",
    "shared_tags",
    "write_config",
    "write_runs",
]
