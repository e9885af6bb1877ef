"""Champions of many trials: right, and how long, beside reading all runs and beside SQL alone.

Every timed act is a fresh process. Ours is compared whole with SQL and the import of mlflow; its selecting
alone is compared with the reading of all runs, page by page, as MLflow's client offers it. That takes
minutes, so that by default some pages are timed and scaled to all, which the output says.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rig import report
from rig.stores import (
    KINDS,
    METRIC,
    Run,
    make_experiment,
    make_trials,
    open_database,
    open_store,
    write_config,
    write_runs,
)

if TYPE_CHECKING:
    from mlflow.entities import Run as StoredRun
    from mlflow.store.entities import PagedList
    from mlflow.tracking import MlflowClient

N_BACKBONES, N_GROUPS = 3, 20
# Two stores: as `bakeoff sweep` writes one, and as a script of a user might. In the second, tags have
# other names, no objective is recorded, and the stable score is the median of five.
SHAPES = ("bakeoff", "own")
TOP_K = {"bakeoff": 3, "own": 5}
PREFIX = {"bakeoff": "bakeoff.", "own": "team."}
OWN_LAYOUT = {
    "name": "team",
    "writer": "a script of the team",
    "trial": {"tags": {"team.stage": ["hpo_trial"]}},
    "backbone": [{"tag": "team.backbone"}],
    "study_key": [{"tag": "team.study_key_hash"}],
    "refit": {
        "match": {"tags": {"team.stage": ["hpo_refit"]}},
        "of_trial": [{"tag": "team.refit.of_trial_run_id"}],
        "test_metric": "test_{metric}",
    },
    "checkpoint": {"artifacts": ["checkpoint"], "available": "team.artifact.available"},
}
OWN_TAGS = ("stage", "backbone", "study_key_hash", "refit.of_trial_run_id", "artifact.available")
SMALLER_BY = 10
Facts = dict[str, Any]
PAGE, SAMPLE_PAGES = 1000, 3
MIN_SPEEDUP, MAX_OVER_SQL, MAX_GROWTH, MAX_MEMORY_MB = 50.0, 5.0, 2.0, 350.0
# The best trials of every group: the truth, and the time of SQL alone.
SQL = """
WITH trials AS (
  SELECT backbone.value AS backbone, study.value AS study, runs.run_uuid AS run, latest.value AS metric,
         ROW_NUMBER() OVER (PARTITION BY backbone.value, study.value
                            ORDER BY latest.value DESC, runs.start_time, runs.run_uuid) AS place
  FROM runs
  JOIN tags stage ON stage.run_uuid = runs.run_uuid AND stage.key = '{prefix}stage'
  JOIN tags backbone ON backbone.run_uuid = runs.run_uuid AND backbone.key = '{prefix}backbone'
  JOIN tags study ON study.run_uuid = runs.run_uuid AND study.key = '{prefix}study_key_hash'
  JOIN latest_metrics latest ON latest.run_uuid = runs.run_uuid AND latest.key = '{metric}'
  WHERE stage.value = 'hpo_trial' AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
    AND NOT latest.is_nan
)
SELECT backbone, study, run, metric, place FROM trials WHERE place <= {top_k} ORDER BY backbone, study, place
"""


def main() -> int:
    """Run what the arguments ask for; given ``--act``, be one of the processes that are timed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--store", choices=KINDS, default="sqlite")
    parser.add_argument("--shape", choices=SHAPES, help="writer of the store; both by default")
    parser.add_argument(
        "--naive", choices=("sample", "full"), default="sample", help="time some pages, or all of them"
    )
    parser.add_argument("--act", choices=("import", "sql", "champions", "naive"), help=argparse.SUPPRESS)
    parser.add_argument("--where", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.act:
        print(json.dumps(_act(arguments)))
        return 0
    for shape in [arguments.shape] if arguments.shape else SHAPES:
        _compare(argparse.Namespace(**{**vars(arguments), "shape": shape}))
    return 0


def _compare(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        small = _measure(Path(name) / "small", arguments, arguments.trials // SMALLER_BY, ("champions",))
        large = _measure(
            Path(name) / "large", arguments, arguments.trials, ("import", "sql", "champions", "naive")
        )
    _judge(arguments, small, large)


def _pages(arguments: argparse.Namespace) -> int | None:
    return None if arguments.naive == "full" else SAMPLE_PAGES


def _judge(arguments: argparse.Namespace, small: dict[str, Facts], large: dict[str, Facts]) -> None:
    ours, naive, sql = large["champions"], large["naive"], large["sql"]
    naive_s = naive["wall_s"] * arguments.trials / naive["n_runs"]
    is_scaled = naive["n_runs"] < arguments.trials
    floor_s = sql["wall_s"] + large["import"]["wall_s"]
    growth = ours["wall_s"] / small["champions"]["wall_s"]
    is_right = ours["found"] == _crown(sql["rows"], TOP_K[arguments.shape])
    print(
        f"{arguments.trials:,} trials on {arguments.store}, layout {arguments.shape}: "
        f"ours {ours['wall_s']:.1f} s "
        f"(selecting {ours['select_s']:.1f} s, {ours['n_requests']} requests, {ours['memory_mb']:.0f} MB), "
        f"SQL {sql['wall_s']:.1f} s + import of mlflow {large['import']['wall_s']:.1f} s, "
        f"all runs {naive_s:.0f} s"
        + (f" (scaled from {naive['n_runs']:,} runs)" if is_scaled else "")
        + f"; {arguments.trials // SMALLER_BY:,} trials: ours {small['champions']['wall_s']:.1f} s"
    )
    figure = (
        f"{'right' if is_right else 'WRONG'}, {naive_s / ours['select_s']:.0f}× faster than reading all runs"
        f"{' (scaled)' if is_scaled else ''}, {ours['wall_s'] / floor_s:.1f}× SQL and import, "
        f"{ours['memory_mb']:.0f} MB, {growth:.1f}× the time for {SMALLER_BY}× the trials"
    )
    holds = (
        is_right
        and naive_s / ours["select_s"] >= MIN_SPEEDUP
        and ours["wall_s"] <= MAX_OVER_SQL * floor_s
        and ours["memory_mb"] <= MAX_MEMORY_MB
        and growth <= MAX_GROWTH
    )
    bar = f"right, {MIN_SPEEDUP:.0f}×, {MAX_OVER_SQL:.0f}×, {MAX_MEMORY_MB:.0f} MB, {MAX_GROWTH:.0f}×"
    report(f"champions {arguments.store}, layout {arguments.shape}", figure, bar, holds)


def _measure(
    folder: Path, arguments: argparse.Namespace, n_trials: int, acts: tuple[str, ...]
) -> dict[str, Facts]:
    """Fill a store and time acts on it, each in a process of its own."""
    folder.mkdir(parents=True)
    with open_store(arguments.store, folder) as (uri, database):
        begin = time.monotonic()
        write_runs(database, make_experiment(uri, "sweep"), _make_runs(arguments.shape, n_trials))
        print(f"{n_trials:,} trials written in {time.monotonic() - begin:.0f} s", flush=True)
        _write_project(folder, uri, arguments.shape)
        return {act: _run(act, arguments, folder, database) for act in acts}


def _make_runs(shape: str, n_trials: int) -> Iterator[Run]:
    for run in make_trials(n_trials, N_BACKBONES, N_GROUPS):
        if shape == "bakeoff":
            yield run
        else:
            kept = {f"team.{name}": run.tags.get(f"bakeoff.{name}") for name in OWN_TAGS}
            yield replace(run, tags={key: text for key, text in kept.items() if text is not None})


def _write_project(folder: Path, uri: str, shape: str) -> None:
    if shape == "bakeoff":
        write_config(folder, uri, N_BACKBONES)
        return
    (folder / "layout.yaml").write_text(json.dumps(OWN_LAYOUT), encoding="utf-8")
    write_config(
        folder,
        uri,
        N_BACKBONES,
        tracking={"uri": uri, "sweep_experiment": "sweep", "layout": "layout.yaml"},
        hpo={
            "backbones": {f"bert-{number}": {} for number in range(N_BACKBONES)},
            "objective": {"metric": METRIC, "direction": "maximize"},
        },
        selection={"top_k_for_stable_score": TOP_K[shape]},
    )


def _run(act: str, arguments: argparse.Namespace, folder: Path, database: str) -> Facts:
    command = [sys.executable, __file__, "--act", act, "--naive", arguments.naive, "--shape", arguments.shape]
    begin = time.monotonic()
    done = subprocess.run(
        [*command, "--where", str(folder), database], stdout=subprocess.PIPE, check=True, text=True
    )
    wall_s = time.monotonic() - begin
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"  {act}: {wall_s:.1f} s", flush=True)
    return {"wall_s": wall_s, **result}


def _act(arguments: argparse.Namespace) -> Facts:
    """One of the ways; what it found, and for the naive way how long its reading took."""
    act, pages, (folder, database) = arguments.act, _pages(arguments), arguments.where
    if act == "import":
        import mlflow  # noqa: F401

        return {}
    if act == "sql":
        shape = arguments.shape
        sql = SQL.format(metric=METRIC, top_k=TOP_K[shape], prefix=PREFIX[shape])
        with closing(open_database(database)) as connection:
            return {"rows": connection.execute(sql).fetchall()}
    from bakeoff.orchestrator import open_project, select_champions

    project = open_project(Path(folder) / "bakeoff.yaml")
    experiment_id = project.tracker.find_experiment("sweep") or ""  # mlflow is imported, the client made
    begin = time.monotonic()
    if act == "champions":
        selections = select_champions(project)
        select_s = time.monotonic() - begin
        found = {name: row.champion.trial_run_id for name, row in selections.items() if row.champion}
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {
            "found": found,
            "select_s": select_s,
            "n_requests": project.tracker.n_requests,
            "memory_mb": memory_mb,
        }
    n_runs, token = 0, None
    while pages is None or n_runs < pages * PAGE:
        page = project.tracker.call(
            "reading",
            functools.partial(_read_page, experiment_id, token),
        )
        n_runs, token = n_runs + len(page), page.token
        if not token:
            break
    return {"n_runs": n_runs, "wall_s": time.monotonic() - begin}


def _read_page(experiment_id: str, token: str | None, client: MlflowClient) -> PagedList[StoredRun]:
    return client.search_runs([experiment_id], "", max_results=PAGE, page_token=token)


def _crown(rows: list[tuple[str, str, str, float, int]], top_k: int) -> dict[str, str]:
    """Find the champion's trial of each backbone, from the best trials of every group."""
    groups: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for backbone, study, run, metric, _ in rows:
        groups.setdefault((backbone, study), []).append((metric, run))
    best: dict[str, tuple[float, str]] = {}
    for (backbone, _), trials in groups.items():
        if len(trials) == top_k:
            candidate = (trials[top_k // 2][0], trials[0][1])
            best[backbone] = max(best.get(backbone, candidate), candidate)
    return {backbone: run for backbone, (_, run) in best.items()}


if __name__ == "__main__":
    sys.exit(main())
