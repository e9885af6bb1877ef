"""Large tracking stores, filled by SQL in seconds, as ``bakeoff sweep`` would leave them after months."""

from __future__ import annotations

import hashlib
import math
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bakeoff.core.identity import STUDY_KEY_SCHEMA_VERSION
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage

if TYPE_CHECKING:
    import psycopg

METRIC = "f1"
N_PARAMS, N_FOLDS = 10, 4
EPOCH_MS = 1_700_000_000_000
_COLUMNS = {
    "runs": "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, "
    "end_time, lifecycle_stage, artifact_uri, experiment_id",
    "tags": "run_uuid, key, value",
    "params": "run_uuid, key, value",
    "metrics": "run_uuid, key, value, timestamp, step, is_nan",
    "latest_metrics": "run_uuid, key, value, timestamp, step, is_nan",
}
_CHUNK = 2_000
# As MLflow keeps infinity.
KEPT_INFINITY = 1.7976931348623157e308

Rows = dict[str, list[tuple[object, ...]]]
if TYPE_CHECKING:
    Connection = sqlite3.Connection | psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Run:
    """One finished run to be written."""

    run_id: str
    name: str
    start_ms: int
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]


def write_runs(database: str, experiment_id: str, runs: Iterable[Run]) -> None:
    """Insert runs, some thousand at a time."""
    with _connect(database) as write:
        rows: Rows = {table: [] for table in _COLUMNS}
        for run in runs:
            _add(rows, run, int(experiment_id))
            if len(rows["runs"]) >= _CHUNK:
                write(rows)
        write(rows)
    if not database.startswith("sqlite"):
        # PostgreSQL does it by itself before long; a SQLite store of MLflow has no statistics.
        with closing(open_database(database)) as connection:
            connection.execute("ANALYZE")
            connection.commit()


def make_trials(n_trials: int, n_backbones: int, n_groups: int, seed: int = 0) -> Iterator[Run]:
    """Trials of bakeoff's sweeps, and a refit of the best trial of every group.

    Groups differ in level by less than their trials do, the metric rises with time as under Optuna's sampler,
    and one trial in two hundred diverged (NaN).
    """
    rng = random.Random(seed)
    best: dict[tuple[int, int], tuple[float, str]] = {}
    level = {
        (backbone, group): rng.uniform(0.70, 0.75)
        for backbone in range(n_backbones)
        for group in range(n_groups)
    }
    for number in range(n_trials):
        backbone, group = number % n_backbones, number // n_backbones % n_groups
        value = level[backbone, group] + 0.02 * number / n_trials + rng.gauss(0, 0.05)
        is_nan = rng.random() < 0.005
        run_id = make_id("trial", number)
        if not is_nan and value > best.get((backbone, group), (-1.0, ""))[0]:
            best[backbone, group] = (value, run_id)
        shared = shared_tags(backbone, group)
        yield Run(
            run_id,
            f"trial {number}",
            EPOCH_MS + number * 1000,
            shared
            | {
                tags.STAGE: Stage.TRIAL,
                tags.TRIAL_KEY_HASH: _hash("trial key", number),
                tags.PARENT_RUN_ID: make_id("sweep", backbone * n_groups + group),
                tags.NONCE: make_id("nonce", number),
                "mlflow.runName": f"trial {number}",
            },
            {METRIC: math.nan if is_nan else value}
            | {f"{METRIC}_fold_{fold}": value + rng.gauss(0, 0.01) for fold in range(N_FOLDS)},
            {f"param_{param}": f"{rng.random():.6f}" for param in range(N_PARAMS)},
        )
    for (backbone, group), (_, trial_id) in best.items():
        number = backbone * n_groups + group
        yield make_refit(number, shared_tags(backbone, group), trial_id, EPOCH_MS + n_trials * 1000 + number)


def make_refit(number: int, shared: Mapping[str, str], trial_id: str, start_ms: int) -> Run:
    """The refit of a trial."""
    refit_tags = {
        tags.STAGE: Stage.REFIT,
        tags.REFIT_OF_TRIAL: trial_id,
        tags.ARTIFACT_AVAILABLE: "true",
        tags.CHECKPOINT_DIGEST: _hash("checkpoint", number),
    }
    return Run(
        make_id("refit", number),
        f"refit {number}",
        start_ms,
        {**shared, **refit_tags},
        {f"test_{METRIC}": 0.5},
        {},
    )


def shared_tags(backbone: int, group: int) -> dict[str, str]:
    """What all runs of a study carry."""
    return {
        tags.SCHEMA_VERSION: tags.TAG_SCHEMA,
        tags.BACKBONE: f"bert-{backbone}",
        tags.STUDY_KEY_HASH: _hash("study", backbone, group),
        tags.STUDY_FAMILY_HASH: _hash("family", group),
        tags.STUDY_KEY_SCHEMA_VERSION: STUDY_KEY_SCHEMA_VERSION,
        tags.DATA_FINGERPRINT: "d" * 64,
        tags.EVAL_FINGERPRINT: "e" * 64,
        tags.OBJECTIVE_METRIC: METRIC,
        tags.OBJECTIVE_DIRECTION: "maximize",
    }


def open_database(database: str) -> Connection:
    """A connection to a store's database."""
    if database.startswith("sqlite"):
        return sqlite3.connect(database.removeprefix("sqlite:///"))
    import psycopg

    return psycopg.connect(database)


def _add(rows: Rows, run: Run, experiment_id: int) -> None:
    end = run.start_ms + 500
    rows["runs"].append(
        (
            *(run.run_id, run.name, "LOCAL", "", "", "bench", "FINISHED", run.start_ms, end, "active"),
            *(f"mlflow-artifacts:/{run.run_id}", experiment_id),
        )
    )
    rows["tags"] += [(run.run_id, key, value) for key, value in run.tags.items()]
    rows["params"] += [(run.run_id, key, value) for key, value in run.params.items()]
    for key, value in run.metrics.items():
        is_nan = math.isnan(value)
        kept = 0.0 if is_nan else math.copysign(KEPT_INFINITY, value) if math.isinf(value) else value
        row = (run.run_id, key, kept, end, 0, is_nan)
        rows["metrics"].append(row)
        rows["latest_metrics"].append(row)


@contextmanager
def _connect(database: str) -> Iterator[Callable[[Rows], None]]:
    with closing(open_database(database)) as connection:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

        def flush(rows: Rows) -> None:
            for table, columns in _COLUMNS.items():
                if isinstance(connection, sqlite3.Connection):
                    marks = ", ".join("?" * (columns.count(",") + 1))
                    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - our own
                    connection.executemany(statement, rows[table])
                else:
                    _copy(connection, f"COPY {table} ({columns}) FROM STDIN", rows[table])
                rows[table].clear()
            connection.commit()

        yield flush


def _copy(
    connection: psycopg.Connection[tuple[object, ...]], statement: str, rows: Sequence[tuple[object, ...]]
) -> None:
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make_id(*parts: object) -> str:
    """A run's id, the same whenever it is made of the same parts."""
    return _hash(*parts)[:32]
