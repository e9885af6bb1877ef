"""Who races and who is killed in ``claims.py``: servers, processes that claim, and a small project."""

from __future__ import annotations

import random
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Self

import yaml

from bakeoff.disk.digest import digest_folder, digest_json
from bakeoff.errors import BakeoffError
from bakeoff.stores import tags
from bakeoff.stores.claims.claims import Claim, Claims, Published
from bakeoff.stores.claims.ledger import Ledger
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking import Tracker
from rig import make_checkpoint

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from services import PostgresServer
from storms import Tally
from storms import kill_benches as kill

BACKBONE = "minilm-l2"
N_LINES = 24
EXPERIMENT = "benchmark"
EXPIRY_S = 60.0


@dataclass
class Told:
    """What one process of a race saw."""

    published: list[str] = field(default_factory=list)
    claim_s: list[float] = field(default_factory=list)
    n_errors: int = 0


class Services:
    """A SQLite file and a PostgreSQL server, each with an empty store of MLflow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = PostgresServer()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self._server.stop)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stores(self) -> dict[str, str]:
        """URI of each store, its tables made."""
        uris = {"SQLite": f"sqlite:///{self._folder}/race.db", "PostgreSQL": self._server.make_database()}
        for uri in uris.values():
            Tracker(uri).ensure_experiment(EXPERIMENT)
        return uris


def contend(uri: str, number: int, n_keys: int, barrier: Barrier, results: Queue[Told]) -> None:
    """Claim every key in an order of one's own, and publish a run for each that is won, until all are."""
    tracker = Tracker(uri)
    experiment_id = tracker.ensure_experiment(EXPERIMENT)
    claims = Claims(
        Ledger(tracker, EXPERIMENT), f"claimant {number}", lambda: f"machine-{number}", expiry_s=EXPIRY_S
    )
    keys = [digest_json(f"key {each}") for each in range(n_keys)]
    random.Random(number).shuffle(keys)  # noqa: S311 - an order, not a secret
    told = Told()
    barrier.wait()
    while keys:
        left: list[str] = []
        for key in keys:
            try:
                begin = time.monotonic()
                answer = claims.claim(key, 1)
                wait_s = time.monotonic() - begin
                if isinstance(answer, Claim):
                    told.claim_s.append(wait_s)
                    run_id = tracker.create_run(
                        experiment_id, key[:8], {tags.STAGE: Stage.BENCHMARK, tags.ATTEMPT: "1"}, nonce=key
                    )
                    if claims.publish(key, run_id, 1, is_forced=False) == run_id:
                        told.published.append(key)
                    claims.end(answer, "published")
                elif not isinstance(answer, Published):
                    left.append(key)
            except BakeoffError as error:
                print(f"claimant {number}: {error}", file=sys.stderr)
                told.n_errors += 1
                left.append(key)
        keys = left
    results.put(told)


def kill_benches(folder: Path, n_kills: int, seed: int) -> Tally:
    """Kill benches of a project with one champion, which is an untrained model of the demo."""
    return kill(make_template(folder), folder / "storms", n_kills, seed)


def make_template(folder: Path) -> Path:
    """Open a project with one champion, an untrained model of the demo; nothing of it is measured."""
    template = folder / "template"
    (template / "config").mkdir(parents=True)
    lines = files("bakeoff.demo").joinpath("data", "test.jsonl").read_text(encoding="utf-8").splitlines()
    (template / "test.jsonl").write_text("\n".join(lines[:N_LINES]) + "\n", encoding="utf-8")
    settings = {
        "tracking": {"sweep_experiment": "sweep", "benchmark_experiment": EXPERIMENT},
        "data": {"test": "test.jsonl", "max_length": 32},
        "hpo": {"backbones": {BACKBONE: {}}},
        "selection": {"min_trials_per_group": 1},
    }
    for stage, section in settings.items():
        (template / "config" / f"{stage}.yaml").write_text(yaml.safe_dump(section), encoding="utf-8")
    _write_champion(Tracker(f"sqlite:///{template}/mlflow.db", (folder / "artifacts").as_uri()), folder)
    return template


def _write_champion(tracker: Tracker, folder: Path) -> None:
    """Make a trial and its refit, as a sweep leaves them."""
    checkpoint = make_checkpoint(BACKBONE, folder)
    experiment_id = tracker.ensure_experiment("sweep")
    shared = {
        tags.SCHEMA_VERSION: tags.TAG_SCHEMA,
        tags.BACKBONE: BACKBONE,
        tags.STUDY_KEY_HASH: "1" * 64,
        tags.TRIAL_KEY_HASH: "2" * 64,
        tags.STUDY_KEY_SCHEMA_VERSION: "2.0",
        tags.DATA_FINGERPRINT: "d" * 64,
        tags.EVAL_FINGERPRINT: "e" * 64,
        tags.OBJECTIVE_METRIC: "f1",
        tags.OBJECTIVE_DIRECTION: "maximize",
        tags.PARENT_RUN_ID: "5" * 32,
    }
    trial = tracker.create_run(experiment_id, "trial", {**shared, tags.STAGE: Stage.TRIAL}, nonce="t")
    tracker.log(trial, metrics={"f1": 0.5})
    tracker.end_run(trial, "FINISHED")
    of_refit = {
        tags.STAGE: Stage.REFIT,
        tags.REFIT_OF_TRIAL: trial,
        tags.ARTIFACT_AVAILABLE: "true",
        tags.CHECKPOINT_DIGEST: digest_folder(checkpoint),
    }
    refit = tracker.create_run(experiment_id, "refit", {**shared, **of_refit}, nonce="r")
    tracker.log_files(refit, [checkpoint], tags.CHECKPOINT_ARTIFACT)
    tracker.end_run(refit, "FINISHED")
