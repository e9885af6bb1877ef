"""What ``plan`` costs with hundreds of champions that are all benchmarked already: requests and seconds.

The seconds are CPU time of opening the project and planning, in a fresh process that has imported mlflow. A
fifth of the champions is planned in the same run, to see what of the requests grows with them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from rig import report, time_import_mlflow
from rig.stores import (
    EPOCH_MS,
    KINDS,
    METRIC,
    Run,
    make_experiment,
    make_id,
    make_refit,
    open_store,
    shared_tags,
    write_config,
    write_runs,
)

from bakeoff.core.job import Job
from bakeoff.orchestrator import open_project, plan, select_champions
from bakeoff.orchestrator.champions import require_champions
from bakeoff.orchestrator.plan import build_jobs
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage

N_TRIALS = 3
SMALLER_BY = 5
MAX_IMPORTS = 2.5  # of `import mlflow` in the same run
BENCHMARK = {
    "runtimes": [{"kind": "noop", "threads": 1}],
    "scenarios": [{"kind": "latency", "batch_sizes": [1, 8]}],
}


def main() -> int:
    """Run what the arguments ask for; given ``--plan``, be the process that is timed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--champions", type=int, default=500)
    parser.add_argument("--store", choices=KINDS, default="sqlite")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plan:
        print(json.dumps(_plan(arguments.plan)))
        return 0
    count = arguments.champions
    with tempfile.TemporaryDirectory() as name:
        small = _measure(Path(name) / "small", arguments.store, count // SMALLER_BY)
        large = _measure(Path(name) / "large", arguments.store, count)
    print(
        f"{count} champions on {arguments.store}: {large['n_reused']} of {large['n_jobs']} jobs reused; "
        f"{small['n_requests']} requests and {small['plan_s']:.1f} s for {count // SMALLER_BY} champions; "
        f"the whole process took {large['wall_s']:.1f} s"
    )
    unit = time_import_mlflow()
    is_constant = large["n_requests"] <= small["n_requests"] * SMALLER_BY
    return report(
        f"plan {arguments.store}",
        f"{large['n_requests']} requests, {large['plan_s'] / unit:.2f} × import mlflow ({unit:.2f} s)",
        f"{small['n_requests']} requests each {count // SMALLER_BY} champions, {MAX_IMPORTS:g} ×",
        is_constant
        and large["plan_s"] <= MAX_IMPORTS * unit
        and large["n_reused"] == large["n_jobs"] == count,
    )


def _measure(folder: Path, store: str, n_champions: int) -> dict[str, float]:
    folder.mkdir(parents=True)
    with open_store(store, folder) as (uri, database):
        write_runs(database, make_experiment(uri, "sweep"), _make_sweep(n_champions))
        source = files("bakeoff.demo").joinpath("data", "test.jsonl")
        (folder / "test.jsonl").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        config = write_config(folder, uri, n_champions, benchmark=BENCHMARK)
        project = open_project(config)
        jobs = build_jobs(project, require_champions(select_champions(project)))
        write_runs(database, make_experiment(uri, "benchmark"), (_benchmark_of(asked.job) for asked in jobs))
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, __file__, "--plan", str(config)], stdout=subprocess.PIPE, check=True, text=True
        )
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found | {"wall_s": time.monotonic() - begin}


def _make_sweep(n_champions: int) -> Iterator[Run]:
    """Make a study of three trials and a refit of the best for each champion."""
    for number in range(n_champions):
        shared = shared_tags(number, 0)
        for trial in range(N_TRIALS):
            yield Run(
                make_id("trial", number, trial),
                f"trial {trial}",
                EPOCH_MS + number * 10 + trial,
                shared
                | {
                    tags.STAGE: Stage.TRIAL,
                    tags.TRIAL_KEY_HASH: f"{number * N_TRIALS + trial:064x}",
                    tags.PARENT_RUN_ID: make_id("sweep", number),
                },
                {METRIC: 0.5 + trial / 10},
                {"learning_rate": f"{trial}e-5"},
            )
        best = make_id("trial", number, N_TRIALS - 1)
        yield make_refit(number, shared, best, EPOCH_MS + number * 10 + 9)


def _benchmark_of(job: Job) -> Run:
    """Make a valid benchmark of a job."""
    return Run(
        make_id("benchmark", job.key),
        job.label,
        EPOCH_MS,
        {
            tags.STAGE: Stage.BENCHMARK,
            tags.BENCHMARK_KEY: job.key,
            tags.LINEAGE_REFIT: job.champion_run_id,
            tags.ATTEMPT: "1",
            tags.VALIDITY: "valid",
            tags.MEASURED_AT: "2026-01-02T03:04:05+00:00",
        },
        {"wall_s": 1.0},
        job.parts,
    )


def _plan(config: Path) -> dict[str, float]:
    import mlflow  # noqa: F401 - imported before the clock starts

    begin = time.process_time()
    project = open_project(config)
    made = plan(project)
    plan_s = time.process_time() - begin
    return {
        "plan_s": plan_s,
        "n_requests": project.tracker.n_requests,
        "n_jobs": len(made.jobs),
        "n_reused": len(made.reused),
    }


if __name__ == "__main__":
    sys.exit(main())
