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
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rig import report
from rig.stores import (
    KINDS,
    METRIC,
    make_experiment,
    make_trials,
    open_database,
    open_store,
    write_config,
    write_runs,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList
    from mlflow.tracking import MlflowClient

N_BACKBONES, N_GROUPS, TOP_K = 3, 20, 3
SMALLER_BY = 10
Facts = dict[str, Any]
PAGE, SAMPLE_PAGES = 1000, 3
MIN_SPEEDUP, MAX_OVER_SQL, MAX_GROWTH, MAX_MEMORY_MB = 50.0, 5.0, 2.0, 350.0
# The three best trials of every group: the truth, and the time of SQL alone.
SQL = """
WITH trials AS (
  SELECT backbone.value AS backbone, study.value AS study, runs.run_uuid AS run, latest.value AS metric,
         ROW_NUMBER() OVER (PARTITION BY backbone.value, study.value
                            ORDER BY latest.value DESC, runs.start_time, runs.run_uuid) AS place
  FROM runs
  JOIN tags stage ON stage.run_uuid = runs.run_uuid AND stage.key = 'bakeoff.stage'
  JOIN tags backbone ON backbone.run_uuid = runs.run_uuid AND backbone.key = 'bakeoff.backbone'
  JOIN tags study ON study.run_uuid = runs.run_uuid AND study.key = 'bakeoff.study_key_hash'
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
    parser.add_argument(
        "--naive", choices=("sample", "full"), default="sample", help="time some pages, or all of them"
    )
    parser.add_argument("--act", choices=("import", "sql", "champions", "naive"), help=argparse.SUPPRESS)
    parser.add_argument("--where", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.act:
        print(json.dumps(_act(arguments.act, arguments.where[0], arguments.where[1], _pages(arguments))))
        return 0
    with tempfile.TemporaryDirectory() as name:
        small = _measure(Path(name) / "small", arguments, arguments.trials // SMALLER_BY, ("champions",))
        large = _measure(
            Path(name) / "large", arguments, arguments.trials, ("import", "sql", "champions", "naive")
        )
    return _judge(arguments, small, large)


def _pages(arguments: argparse.Namespace) -> int | None:
    return None if arguments.naive == "full" else SAMPLE_PAGES


def _judge(arguments: argparse.Namespace, small: dict[str, Facts], large: dict[str, Facts]) -> int:
    ours, naive, sql = large["champions"], large["naive"], large["sql"]
    naive_s = naive["wall_s"] * arguments.trials / naive["n_runs"]
    is_scaled = naive["n_runs"] < arguments.trials
    floor_s = sql["wall_s"] + large["import"]["wall_s"]
    growth = ours["wall_s"] / small["champions"]["wall_s"]
    is_right = ours["found"] == _crown(sql["rows"])
    print(
        f"{arguments.trials:,} trials on {arguments.store}: ours {ours['wall_s']:.1f} s "
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
    return report(f"champions {arguments.store}", figure, bar, holds)


def _measure(
    folder: Path, arguments: argparse.Namespace, n_trials: int, acts: tuple[str, ...]
) -> dict[str, Facts]:
    """Fill a store and time acts on it, each in a process of its own."""
    folder.mkdir(parents=True)
    with open_store(arguments.store, folder) as (uri, database):
        begin = time.monotonic()
        write_runs(database, make_experiment(uri, "sweep"), make_trials(n_trials, N_BACKBONES, N_GROUPS))
        print(f"{n_trials:,} trials written in {time.monotonic() - begin:.0f} s", flush=True)
        write_config(folder, uri, N_BACKBONES)
        return {act: _run(act, arguments, folder, database) for act in acts}


def _run(act: str, arguments: argparse.Namespace, folder: Path, database: str) -> Facts:
    command = [sys.executable, __file__, "--act", act, "--naive", arguments.naive]
    begin = time.monotonic()
    done = subprocess.run(
        [*command, "--where", str(folder), database], stdout=subprocess.PIPE, check=True, text=True
    )
    wall_s = time.monotonic() - begin
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"  {act}: {wall_s:.1f} s", flush=True)
    return {"wall_s": wall_s, **result}


def _act(act: str, folder: str, database: str, pages: int | None) -> Facts:
    """One of the ways; what it found, and for the naive way how long its reading took."""
    if act == "import":
        import mlflow  # noqa: F401

        return {}
    if act == "sql":
        with closing(open_database(database)) as connection:
            return {"rows": connection.execute(SQL.format(metric=METRIC, top_k=TOP_K)).fetchall()}
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


def _read_page(experiment_id: str, token: str | None, client: MlflowClient) -> PagedList[Run]:
    return client.search_runs([experiment_id], "", max_results=PAGE, page_token=token)


def _crown(rows: list[tuple[str, str, str, float, int]]) -> dict[str, str]:
    """Find the champion's trial of each backbone, from the best trials of every group."""
    groups: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for backbone, study, run, metric, _ in rows:
        groups.setdefault((backbone, study), []).append((metric, run))
    best: dict[str, tuple[float, str]] = {}
    for (backbone, _), trials in groups.items():
        if len(trials) == TOP_K:
            candidate = (trials[TOP_K // 2][0], trials[0][1])
            best[backbone] = max(best.get(backbone, candidate), candidate)
    return {backbone: run for backbone, (_, run) in best.items()}


if __name__ == "__main__":
    sys.exit(main())
