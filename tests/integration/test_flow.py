"""The pipeline on a real tiny model, real MLflow on SQLite, real worker processes."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from bakeoff.core.plan import filter_missing_benchmarks
from bakeoff.core.records import Champion
from bakeoff.errors import TrackingError
from bakeoff.orchestrator import Project, bench, benchmark_champions, decide, plan, select_champions, sweep
from bakeoff.orchestrator.measurements import build_jobs
from bakeoff.stores import tags
from bakeoff.stores.tracking import Tracker

Reopen = Callable[..., Project]
NOTHING_LISTENS = "tracking.uri=http://127.0.0.1:9"
NOOP = ("benchmark.runtimes=[{kind: noop}]", "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]")


def runs_of(project: Project, experiment: str, stage: str) -> list[dict[str, str]]:
    experiment_id = project.tracker.find_experiment(experiment)
    assert experiment_id is not None
    found = project.tracker.search_runs(experiment_id, {tags.STAGE: stage})
    return [{**run.data.tags, "status": run.info.status} for run in found]


def test_a_sweep_leaves_sweep_trial_fold_and_refit_runs_with_their_tags(reopen: Reopen) -> None:
    project = reopen()
    counts = {
        stage: len(runs_of(project, "sweep", stage))
        for stage in ("hpo_sweep", "hpo_trial", "hpo_fold", "hpo_refit")
    }
    assert counts == {"hpo_sweep": 1, "hpo_trial": 3, "hpo_fold": 6, "hpo_refit": 1}
    (refit,) = runs_of(project, "sweep", "hpo_refit")
    assert refit["status"] == "FINISHED"
    assert refit[tags.ARTIFACT_AVAILABLE] == "true"
    assert len(refit[tags.CHECKPOINT_DIGEST]) == 64
    trials = {
        run.info.run_id: run.data
        for run in project.tracker.search_runs(
            project.tracker.find_experiment("sweep") or "", {tags.STAGE: "hpo_trial"}
        )
    }
    best = max(trials, key=lambda run_id: trials[run_id].metrics["f1"])
    assert refit[tags.REFIT_OF_TRIAL] == best
    assert trials[best].metrics["f1"] == pytest.approx(
        (trials[best].metrics["f1_fold_0"] + trials[best].metrics["f1_fold_1"]) / 2
    )


def test_a_complete_sweep_is_not_run_again(reopen: Reopen) -> None:
    project = reopen()
    (result,) = sweep(project)
    assert (result.action, result.n_trials) == ("reused", 3)
    assert len(runs_of(project, "sweep", "hpo_trial")) == 3


def test_more_trials_continue_the_study(reopen: Reopen) -> None:
    project = reopen("hpo.n_trials=4")
    (result,) = sweep(project)
    assert (result.action, result.n_trials, result.failure) == ("resumed", 4, None)
    assert select_champions(project)["tiny"].champion is not None


def test_the_quality_job_reproduces_the_metric_of_the_refit_in_both_runtimes(
    reopen: Reopen, champion: Champion
) -> None:
    project = reopen()
    decision = decide(project)
    assert champion.refit_metric is not None
    assert {standing.runtime for standing in decision.standings} == {"torch-fp32", "onnxruntime-fp32"}
    for standing in decision.standings:
        assert standing.quality.value == pytest.approx(champion.refit_metric, abs=0.002)
        assert not any("metric_not_reproduced" in flag for flag in standing.flags)


def test_every_benchmark_is_one_finished_run_with_its_readings(reopen: Reopen) -> None:
    project = reopen()
    found = runs_of(project, "benchmark", "benchmark")
    assert len(found) == 4
    assert len({run[tags.BENCHMARK_KEY] for run in found}) == 4
    assert {(run["status"], run[tags.VALIDITY]) for run in found} == {("FINISHED", "valid")}
    experiment_id = project.tracker.find_experiment("benchmark") or ""
    latency = next(iter(project.tracker.search_runs(experiment_id, {tags.SCENARIO: "latency"})))
    assert latency.data.metrics["latency_p50_ms.batch_1"] > 0
    assert project.tracker.list_artifacts(latency.info.run_id, "benchmark") == [
        "benchmark/001.json",
        "benchmark/001.npz",
    ]


def test_summaries_are_recomputed_from_the_raw_samples(reopen: Reopen) -> None:
    project = reopen()
    (job,) = [
        planned.job
        for planned in plan(project).jobs
        if planned.job.scenario.kind == "latency" and planned.job.runtime.kind == "onnxruntime"
    ]
    folder = project.results.folder / "jobs" / job.key_digest
    document = json.loads((folder / "001.json").read_text())
    with np.load(folder / "001.npz", allow_pickle=False) as arrays:
        place = [reading["quantity"] for reading in document["readings"]].index("latency")
        raw = arrays[f"{place}.values"]
    file = json.loads(next(project.results.folder.glob("champions/*/benchmark.json")).read_text())
    shown = file["runtimes"]["onnxruntime-fp32"]["batch_1"]
    assert shown["median_ms"] == pytest.approx(float(np.median(raw)) / 1e6)
    assert shown["n"] == len(raw)
    assert shown["p99_ms"] is None
    assert set(file["batch_1"]) >= {"mean_ms", "median_ms", "p95_ms", "p99_ms", "throughput_docs_per_sec"}


def test_a_second_bench_measures_nothing_and_says_so_job_by_job(reopen: Reopen) -> None:
    project = reopen()
    result = bench(project)
    assert (result.measured, result.failed) == ((), ())
    assert {planned.action for planned in result.plan.jobs} == {"reuse"}
    assert all(planned.reason.startswith("measured 20") for planned in result.plan.jobs)
    assert len(runs_of(project, "benchmark", "benchmark")) == 4


def test_changed_batch_sizes_are_measured_and_the_plan_names_the_field(reopen: Reopen) -> None:
    project = reopen("benchmark.scenarios.1.batch_sizes=[1, 3]")
    todo = plan(project).todo
    assert {planned.job.scenario.kind for planned in todo} == {"latency"}
    assert {planned.reason for planned in todo} == {"config changed: batch_sizes ([1,2] → [1,3])"}
    assert filter_missing_benchmarks([], plan(project)) == []


def test_force_new_measures_again_under_the_same_key(reopen: Reopen, champion: Champion) -> None:
    first = bench(reopen(*NOOP))
    again = bench(reopen(*NOOP, "benchmark.run.mode=force_new"))
    assert [m.attempt for m in first.measured] == [1]
    assert [(m.job.key, m.attempt) for m in again.measured] == [(first.measured[0].job.key, 2)]


def test_the_run_mode_is_part_of_no_key(reopen: Reopen) -> None:
    keys = [
        {planned.job.key for planned in plan(reopen(f"benchmark.run.mode={mode}")).jobs}
        for mode in ("null", "reuse_if_exists", "force_new", "resume_if_incomplete")
    ]
    assert keys[0] == keys[1] == keys[2] == keys[3]


def test_an_outage_is_never_read_as_nothing_exists(reopen: Reopen) -> None:
    project = reopen(NOTHING_LISTENS)
    before = sorted(project.results.folder.rglob("*"))
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        bench(project)
    assert [p for p in sorted(project.results.folder.rglob("*")) if p not in before] in (
        [],
        [project.results.lock_path],
    )


def test_a_tracker_that_is_down_after_measuring_costs_an_upload_and_no_measurement(
    reopen: Reopen, champion: Champion
) -> None:
    down = reopen(NOTHING_LISTENS, *NOOP)
    benchmark_champions([champion], down)
    (job,) = build_jobs(down, [champion])
    measured = down.results.load_valid(job)
    assert measured is not None
    up = reopen(*NOOP)
    assert [planned.action for planned in plan(up).jobs] == ["log"]
    result = bench(up)
    assert result.measured == ()
    logged = [r for r in runs_of(up, "benchmark", "benchmark") if r[tags.BENCHMARK_KEY] == job.key]
    assert [run[tags.MEASURED_AT] for run in logged] == [measured.measured_at]
    assert [planned.action for planned in plan(up).jobs] == ["reuse"]


def test_a_killed_worker_is_reported_and_the_others_finish(reopen: Reopen) -> None:
    project = reopen(
        "benchmark.runtimes=[{kind: noop}, {kind: onnxruntime}]",
        "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]",
        "benchmark.protocol.rounds=400",
    )
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            for child in psutil.Process().children(recursive=True):
                try:
                    if "bakeoff.run.worker" in child.cmdline():
                        time.sleep(0.3)
                        child.kill()
                        killed.append(child.pid)
                        return
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    result = bench(project)
    killer.join()
    assert [attempt.reason for attempt in result.failed] == ["killed by SIGKILL"]
    assert len(result.measured) == 1
    failed_key = result.failed[0].job.key
    again = {planned.job.key: planned for planned in plan(project).jobs}
    assert again[failed_key].reason == "earlier attempt failed: killed by SIGKILL"
    assert again[failed_key].attempt == 2
    assert [p.action for key, p in again.items() if key != failed_key] == ["reuse"]


def test_champions_that_carry_their_data_cost_no_look_up(
    reopen: Reopen, champion: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions: list[str] = []
    call = Tracker.call

    def spy(self: Tracker, action: str, function: Callable[..., object]) -> object:
        actions.append(action)
        return call(self, action, function)

    monkeypatch.setattr(Tracker, "call", spy)
    files = benchmark_champions([champion], reopen(*NOOP))
    assert list(files) == ["tiny"]
    assert set(actions) == {
        "finding an experiment",
        "creating a run",
        "logging",
        "uploading",
        "closing a run",
    }


def test_a_champion_without_checkpoint_is_acquired_and_a_poisoned_cache_is_fetched_again(
    reopen: Reopen, champion: Champion
) -> None:
    project = reopen(*NOOP)
    bare = champion.model_copy(update={"checkpoint_path": None})
    weights = project.checkpoints.acquire(bare, project.tracker.download) / "model.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    again = project.checkpoints.acquire(bare, project.tracker.download)
    assert (again / "model.safetensors").read_bytes() == sound


def test_a_champion_whose_checkpoint_cannot_be_had_is_reported_and_the_others_go_on(
    reopen: Reopen, champion: Champion, tmp_path: Path
) -> None:
    broken = champion.model_copy(
        update={"backbone": "broken", "run_id": "0" * 32, "checkpoint_path": tmp_path / "nothing"}
    )
    assert list(benchmark_champions([broken, champion], reopen(*NOOP))) == ["tiny"]


def test_what_another_folder_measured_is_fetched_and_not_measured_again(reopen: Reopen) -> None:
    project = reopen()
    shutil.rmtree(project.results.folder)
    result = bench(project)
    assert result.measured == ()
    assert decide(project).winner is not None


def test_an_interrupted_bench_goes_on_from_the_last_whole_generation(
    reopen: Reopen, champion: Champion
) -> None:
    project = reopen(*NOOP)
    todo = plan(project).todo[0]
    bench(project)
    first = project.results.load_valid(todo.job)
    assert first is not None
    # What an interruption leaves: no measurement, but the working folder with one whole generation.
    other = reopen(*NOOP, "benchmark.protocol.seed=5")
    folder = other.results.work_folder(plan(other).todo[0].job, 1, "generation-0")
    bench(other)
    assert not folder.exists()
