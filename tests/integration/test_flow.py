"""The pipeline on a real tiny model, real MLflow on SQLite, real worker processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bakeoff import orchestrator
from bakeoff.core.records import Champion
from bakeoff.errors import CheckpointError, ConfigError, NothingMeasuredError, TrackingError
from bakeoff.measure.heats.records import Block, BlockRequest
from bakeoff.orchestrator import (
    Project,
    bench,
    benchmark_champions,
    decide,
    filter_missing_benchmarks,
    load_decision,
    open_project,
    plan,
    promote,
    save_decision,
    select_champions,
    sweep,
)
from bakeoff.orchestrator.plan import build_jobs
from bakeoff.orchestrator.progress import Advance, Quiet
from bakeoff.run.measuring.resident import ResidentWorker
from bakeoff.run.training import process as training
from bakeoff.stores import tags
from bakeoff.stores.tracking import Tracker, create_client
from command_line import Command, start
from halting import halt_before_repeat, halt_in_repeat, wait_until_halted
from judged import quality_of
from living import find_survivors
from reckoning import Raw, reckon_interval, reckon_ratio, reckon_verdict
from replies import LosesFirstReply

Reopen = Callable[..., Project]
NOTHING_LISTENS = "tracking.uri=http://127.0.0.1:9"
# One thread hands nothing over, so the CPUs are never apart.
NOOP = (
    "benchmark.runtimes=[{kind: noop, threads: 1}]",
    "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]",
)


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
        assert quality_of(standing).value == pytest.approx(champion.refit_metric, abs=0.002)
        assert not any(flag.name == "metric_not_reproduced" for flag in standing.flags)


def test_every_benchmark_is_one_finished_run_with_its_readings(reopen: Reopen) -> None:
    project = reopen()
    found = runs_of(project, "benchmark", "benchmark")
    assert len(found) == 4
    assert len({run[tags.BENCHMARK_KEY] for run in found}) == 4
    assert {(run["status"], run[tags.VALIDITY]) for run in found} == {("FINISHED", "valid")}
    experiment_id = project.tracker.find_experiment("benchmark") or ""
    latency = next(iter(project.tracker.search_runs(experiment_id, {tags.SCENARIO: "latency"})))
    file = json.loads(next(project.results.folder.glob("champions/*/benchmark.json")).read_text())
    shown = file["runtimes"][latency.data.tags[tags.RUNTIME]]["batch_1"]
    assert shown["median_ms"] > 0
    for name, quantile in (("median", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99")):
        assert latency.data.metrics.get(f"latency_{quantile}_ms.batch_1") == shown[f"{name}_ms"]
    assert project.tracker.list_artifacts(latency.info.run_id, "benchmark") == [
        "benchmark/001.json",
        "benchmark/001.npz",
    ]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_summaries_intervals_ratios_and_verdicts_are_recomputed_from_the_raw_samples(
    reopen: Reopen, batch_size: int
) -> None:
    project = reopen()
    jobs = {
        planned.job.runtime.kind: planned.job
        for planned in plan(project).jobs
        if planned.job.scenario.kind == "latency"
    }
    job = jobs["onnxruntime"]
    paths = {
        kind: project.results.folder / "jobs" / each.key_digest / "001.json" for kind, each in jobs.items()
    }
    path = paths["onnxruntime"]
    assert len(paths) == 2
    latency, reference = (Raw(path, quantity, batch_size) for quantity in ("latency", "reference"))
    calls = [[Raw(each, "latency", size) for size in (1, 2)] for each in paths.values()]
    beside = [(Raw(path, "latency", size), Raw(path, "reference", size)) for size in (1, 2)]
    counted = latency.wall[latency.counted]
    file = json.loads(next(project.results.folder.glob("champions/*/benchmark.json")).read_text())
    runtime = file["runtimes"]["onnxruntime-fp32"]
    shown = runtime[f"batch_{batch_size}"]
    assert shown["median_ms"] == pytest.approx(float(np.median(counted)) / 1e6, rel=1e-12)
    assert shown["mean_ms"] == pytest.approx(float(np.mean(counted)) / 1e6)
    assert shown["n"] == len(counted)
    # So many samples bound it, and a slow machine takes fewer in the time of a block.
    assert (shown["p99_ms"] is None) == (len(counted) < 368)
    low, high = reckon_interval(latency, 0.5, [raw for rows in calls for raw in rows])
    # The instrument leaves out of its grid what weighs next to nothing.
    assert shown["median_interval_ms"] == pytest.approx([low / 1e6, high / 1e6], rel=1e-3)
    by_cpu = "contended" in runtime["latency"]["flags"] and job.runtime.threads == 1
    ratio, *ends = reckon_ratio(latency, reference, beside, by_cpu=by_cpu)
    assert shown["ratio_to_reference"] == pytest.approx(ratio, rel=1e-9)
    assert shown["ratio_interval"] == pytest.approx(ends, rel=1e-3)
    assert shown["verdict"] == reckon_verdict(*ends)
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
    assert filter_missing_benchmarks([], project) == []


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
    ((job, _),) = build_jobs(down, [champion])
    measured = down.results.load_valid(job)
    assert measured is not None
    up = reopen(*NOOP)
    assert [planned.action for planned in plan(up).jobs] == ["log"]
    result = bench(up)
    assert result.measured == ()
    logged = [r for r in runs_of(up, "benchmark", "benchmark") if r[tags.BENCHMARK_KEY] == job.key]
    assert [run[tags.MEASURED_AT] for run in logged] == [measured.measured_at]
    assert [planned.action for planned in plan(up).jobs] == ["reuse"]


def test_a_killed_worker_is_reported_and_the_others_finish(
    reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = reopen(
        "benchmark.runtimes=[{kind: noop}, {kind: onnxruntime}]",
        "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]",
    )
    run_block = ResidentWorker.run_block
    killed: list[int] = []

    def kill_once(self: ResidentWorker, request: BlockRequest) -> Block:
        block = run_block(self, request)
        if not killed:
            assert self._process is not None
            killed.append(self._process.pid)
            os.kill(self._process.pid, signal.SIGKILL)
        return block

    monkeypatch.setattr(ResidentWorker, "run_block", kill_once)
    result = bench(project)
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

    def spy(self: Tracker, action: str, function: Callable[..., object], **more: Any) -> object:
        actions.append(action)
        return call(self, action, function, **more)

    monkeypatch.setattr(Tracker, "call", spy)
    files = benchmark_champions([champion], reopen(*NOOP))
    assert list(files) == ["tiny"]
    # The measurement comes first; everything here writes its result, or asks which result counts.
    assert set(actions) - {
        "finding an experiment",
        "creating a run",
        "logging",
        "uploading",
        "closing a run",
    } <= {"finding the ledger", "reading the ledger", "writing to the ledger"}


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


def test_a_checkpoint_that_is_not_what_the_refit_logged_is_refused(
    reopen: Reopen, champion: Champion
) -> None:
    project = reopen(*NOOP)
    other = champion.model_copy(update={"checkpoint_path": None, "checkpoint_digest": "0" * 64})
    with pytest.raises(CheckpointError, match="the refit recorded 000000000000"):
        project.checkpoints.acquire(other, project.tracker.download)
    with pytest.raises(NothingMeasuredError, match="the refit recorded 000000000000"):
        benchmark_champions([other], project)


def test_a_champion_whose_checkpoint_cannot_be_had_is_reported_and_the_others_go_on(
    reopen: Reopen, champion: Champion, tmp_path: Path
) -> None:
    broken = champion.model_copy(
        update={
            "backbone": "broken",
            "run_id": "0" * 32,
            "refit_run_id": "0" * 32,
            "checkpoint_path": tmp_path / "nothing",
        }
    )
    assert list(benchmark_champions([broken, champion], reopen(*NOOP))) == ["tiny"]


def test_what_another_folder_measured_is_fetched_and_not_measured_again(reopen: Reopen) -> None:
    project = reopen()
    shutil.rmtree(project.results.folder)
    result = bench(project)
    assert result.measured == ()
    assert decide(project).winner is not None


def start_bench(folder: Path, *overrides: str, prepare: Callable[[], object] | None = None) -> Command:
    options = [word for override in overrides for word in ("--set", override)]
    return start(folder, "bench", "--quiet", *options, prepare=prepare)


@pytest.mark.slow
def test_a_bench_killed_between_repeats_measures_none_of_them_twice(
    reopen: Reopen, project_folder: Path, tmp_path: Path
) -> None:
    overrides = (*NOOP, "benchmark.protocol.processes=4")
    project = reopen(*overrides)
    (todo,) = plan(project).todo
    here = tmp_path / "here"
    command = start_bench(project_folder, *overrides, prepare=partial(halt_before_repeat, 2, here))
    wait_until_halted(command.process, here)
    command.process.kill()
    assert command.wait().returncode == -signal.SIGKILL
    kept = list(project.results.folder.glob("work/heat-*/repeat-001.json"))
    assert not project.results.load_valid(todo.job)
    assert plan(reopen(*overrides, "benchmark.run.mode=resume_if_incomplete")).todo
    (part,) = json.loads(kept[0].read_bytes())["repeat"]["parts"]
    bench(project)
    measurement = project.results.load_valid(todo.job)
    assert measurement is not None
    latency = measurement.reading("latency", batch_size=1)
    assert latency is not None
    of_second = [v for v, g in zip(latency.values, latency.repeats, strict=True) if g == 1]
    assert of_second == [wall_ns for block in part["blocks"] for wall_ns in block["wall_ns"]]
    repeats = sorted(set(latency.repeats))
    assert repeats == list(range(len(repeats)))
    assert len(repeats) >= 4  # more where other work disturbed all rounds of one
    assert not list(project.results.folder.glob("work/heat-*"))


@pytest.mark.slow
def test_a_damaged_repeat_is_named_and_measured_again(
    reopen: Reopen, project_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = (*NOOP, "benchmark.protocol.processes=3")
    here = tmp_path / "here"
    command = start_bench(project_folder, *overrides, prepare=partial(halt_before_repeat, 2, here))
    wait_until_halted(command.process, here)
    command.process.kill()
    command.wait()
    (kept,) = (project_folder / "results").glob("work/heat-*/repeat-001.json")
    wall = json.loads(kept.read_bytes())["repeat"]["parts"][0]["blocks"][0]["wall_ns"]
    kept.write_bytes(kept.read_bytes().replace(str(wall[0]).encode(), b"1000000000000007", 1))
    (measurement,) = bench(reopen(*overrides)).measured
    assert f"{kept}: not used (its content differs from its digest)" in caplog.text
    assert 1000000000000007 not in [int(value) for each in measurement.readings for value in each.values]


def test_an_interrupted_bench_leaves_no_worker_and_goes_on_from_what_it_kept(
    reopen: Reopen, project_folder: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    command = start_bench(project_folder, *NOOP, prepare=partial(halt_in_repeat, 1, here))
    family = wait_until_halted(command.process, here)
    assert len(family) == 1
    assert command.process.pid is not None
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait().returncode == 130
    assert find_survivors(family) == []
    kept = list((project_folder / "results").glob("work/heat-*/repeat-000.json"))
    first = json.loads(kept[0].read_bytes())["repeat"]["parts"][0]["blocks"][0]["wall_ns"]
    (measurement,) = bench(reopen(*NOOP)).measured
    latency = measurement.reading("latency", batch_size=1)
    assert latency is not None
    assert list(latency.values[: len(first)]) == first


def test_two_processes_that_bench_one_folder_measure_each_key_once(
    reopen: Reopen, project_folder: Path
) -> None:
    commands = [start_bench(project_folder, *NOOP) for _ in range(2)]
    assert [command.wait().returncode for command in commands] == [0, 0]
    project = reopen(*NOOP)
    (planned,) = plan(project).jobs
    assert planned.action == "reuse"
    keys = [run[tags.BENCHMARK_KEY] for run in runs_of(project, "benchmark", "benchmark")]
    assert keys.count(planned.job.key) == 1
    assert len(list((project.results.folder / "jobs" / planned.job.key_digest).glob("*.json"))) == 1


class KillsAfterTheFirstFold(Quiet):
    """Someone who watches the sweep, and kills the training process when the first fold is judged."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Advance]:
        def advance(step: str) -> None:
            if self.killed or not step.endswith("fold 0"):
                return
            for child in psutil.Process().children():
                with suppress(psutil.NoSuchProcess):  # another one that ended by itself meanwhile
                    if training.WORKER in child.cmdline():
                        child.kill()
                        self.killed.append(child.pid)

        yield advance


@pytest.mark.slow
def test_a_killed_training_is_reported_and_the_next_sweep_resumes_the_study(
    tiny_backbone: Path, tmp_path: Path, make_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    watcher, changes = KillsAfterTheFirstFold(), {"hpo": {"trainer": "word_trainers:WordTrainer"}}
    project = open_project(make_project(tmp_path / "p", {"tiny": tiny_backbone}, changes), progress=watcher)
    (broken,) = sweep(project)
    assert len(watcher.killed) == 1
    assert broken.failure is not None
    assert "training process died" in broken.failure
    assert {run["status"] for run in runs_of(project, "sweep", "hpo_sweep")} == {"KILLED"}
    (resumed,) = sweep(project)
    assert (resumed.action, resumed.failure) == ("resumed", None)
    statuses = [run["status"] for run in runs_of(project, "sweep", "hpo_trial")]
    # The broken trial is tried again, with its parameters.
    assert sorted(statuses) == ["FINISHED", "FINISHED", "FINISHED", "KILLED"]


def test_a_trainer_that_cannot_be_used_costs_no_trial(reopen: Reopen) -> None:
    with pytest.raises(ConfigError, match="no_such_module"):
        sweep(reopen("hpo.trainer=no_such_module:Trainer"))
    project = reopen()
    statuses = [run["status"] for run in runs_of(project, "sweep", "hpo_trial")]
    assert statuses == ["FINISHED"] * 3


def test_promotion_makes_one_version_and_repeating_it_changes_nothing(reopen: Reopen) -> None:
    project = reopen()
    first, again = promote(project), promote(project)
    assert (first.version, first.previous, first.is_new) == ("1", None, True)
    assert (again.version, again.is_new) == ("1", False)
    client = create_client(project.tracker.uri)
    version = client.get_model_version_by_alias("bakeoff-model", "champion")
    decision = load_decision(project)
    winner = decision.winning_standing
    assert winner is not None
    assert version.tags[tags.LINEAGE_REFIT] == winner.champion_run_id
    assert version.tags[tags.CHECKPOINT_DIGEST] == winner.checkpoint_digest
    assert version.tags[tags.BENCHMARK_KEYS].splitlines() == list(winner.benchmark_keys)


def test_deciding_twice_gives_the_same_bytes_and_one_decision_run(reopen: Reopen) -> None:
    project = reopen()
    before = project.decision_path.read_bytes()
    save_decision(project, decide(project))
    assert project.decision_path.read_bytes() == before
    assert len(runs_of(project, "benchmark", "decision")) == 1


def test_a_created_run_whose_reply_was_lost_is_found_again(reopen: Reopen) -> None:
    tracker = reopen().tracker
    experiment_id = tracker.ensure_experiment("lossy")
    client = create_client(tracker.uri)
    create = LosesFirstReply(client.create_run)
    client.create_run = create  # type: ignore[method-assign]
    tracker._client = client
    run_id = tracker.create_run(experiment_id, "one", {"kind": "test"}, nonce="n1")
    assert run_id == create.lost[0].info.run_id
    assert len(list(tracker.search_runs(experiment_id, {"kind": "test"}))) == 1


def test_a_tag_value_with_both_kinds_of_quotes_is_matched_all_the_same(reopen: Reopen) -> None:
    tracker = reopen().tracker
    experiment_id = tracker.ensure_experiment("quotes")
    values = ["it's", 'a "word"', """both ' and " here""", "% _", "plain"]
    for value in values:
        tracker.create_run(experiment_id, "r", {"t": value}, nonce=value)
    for value in values:
        found = [run.data.tags["t"] for run in tracker.search_runs(experiment_id, {"t": value})]
        assert found == [value]


def test_more_runs_than_a_page_are_all_read(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bakeoff.stores.tracking.queries.PAGE_SIZE", 2)
    project = reopen()
    assert len(runs_of(project, "sweep", "hpo_fold")) == 6
    assert select_champions(project)["tiny"].champion is not None


def test_nine_frames_in_four_files_lead_from_bench_to_a_timed_block(
    reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = []
    run_block = ResidentWorker.run_block

    def watched(worker: ResidentWorker, request: BlockRequest) -> Block:
        stacks.append(traceback.extract_stack()[:-1])
        return run_block(worker, request)

    monkeypatch.setattr(ResidentWorker, "run_block", watched)
    bench(reopen(*NOOP))
    source = str(Path(orchestrator.__file__).parents[1])
    for stack in stacks:
        ours = [frame for frame in stack if frame.filename.startswith(source)]
        assert len(ours) <= 9, [f"{frame.filename}:{frame.name}" for frame in ours]
        assert len({frame.filename for frame in ours}) <= 4
    assert stacks
