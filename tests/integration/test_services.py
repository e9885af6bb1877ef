"""The servers that other tests lean on: a store written through them reads back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bakeoff.stores.tracking import Tracker
from services import mlflow_server

pytestmark = pytest.mark.slow

N_WRITERS, N_EXPERIMENTS = 4, 10


def write_and_read(tracker: Tracker) -> list[str]:
    experiment = tracker.ensure_experiment("sweep")
    tracker.create_run(experiment, "a", {"bakeoff.stage": "hpo_trial"}, nonce="1")
    return [run.data.tags["bakeoff.stage"] for run in tracker.search_runs(experiment, {})]


def test_a_store_in_postgresql_is_written_and_read(postgres_uri: str) -> None:
    assert write_and_read(Tracker(postgres_uri)) == ["hpo_trial"]


def test_writers_that_make_an_experiment_at_once_agree_on_it(postgres_uri: str) -> None:
    Tracker(postgres_uri).ensure_experiment("so that there are tables")
    together = threading.Barrier(N_WRITERS)

    def make_experiments(_: int) -> list[str]:
        tracker, ids = Tracker(postgres_uri), []
        for number in range(N_EXPERIMENTS):
            together.wait(60)
            ids.append(tracker.ensure_experiment(f"sweep {number}"))
        return ids

    with ThreadPoolExecutor(N_WRITERS) as writers:
        first, *others = writers.map(make_experiments, range(N_WRITERS))
    assert len(set(first)) == N_EXPERIMENTS
    assert others == [first] * (N_WRITERS - 1)


def test_a_server_before_postgresql_is_written_and_read(postgres_uri: str, tmp_path: Path) -> None:
    with mlflow_server(postgres_uri, tmp_path / "server") as uri:
        assert write_and_read(Tracker(uri)) == ["hpo_trial"]


def test_a_server_before_sqlite_is_written_and_read(mlflow_uri: str) -> None:
    assert write_and_read(Tracker(mlflow_uri)) == ["hpo_trial"]
