"""Run modes of a whole project: what is reused, made anew, finished or left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.core.decision.decide import Decision
from bakeoff.core.run_mode import RunMode
from bakeoff.disk.sealed import open_sealed, seal_json
from bakeoff.errors import ConfigError, DataError, UserError
from bakeoff.orchestrator import (
    Project,
    bench,
    decide,
    load_decision,
    open_project,
    plan,
    save_decision,
    sweep,
)
from bakeoff.stores import tags

Reopen = Callable[..., Project]
NOOP = ("benchmark.runtimes=[{kind: noop}]", "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]")
RESUME = "resume_if_incomplete"


def count_runs(project: Project, experiment: str, stage: str) -> int:
    experiment_id = project.tracker.find_experiment(experiment)
    return len(list(project.tracker.search_runs(experiment_id, {tags.STAGE: stage}))) if experiment_id else 0


# --- inheritance ------------------------------------------------------------------------------------------


def test_a_stage_without_mode_inherits_the_one_of_the_stage_before(reopen: Reopen) -> None:
    def modes(*overrides: str) -> tuple[RunMode, RunMode, RunMode]:
        project = reopen(*overrides)
        return project.sweep_mode, project.benchmark_mode, project.decision_mode

    reuse, force, resume = RunMode.REUSE_IF_EXISTS, RunMode.FORCE_NEW, RunMode.RESUME_IF_INCOMPLETE
    assert modes() == (reuse, reuse, reuse)
    assert modes("hpo.run.mode=force_new") == (force, force, force)
    assert modes("hpo.run.mode=force_new", f"benchmark.run.mode={RESUME}") == (force, resume, resume)
    assert modes("benchmark.run.mode=force_new", "decision.run=null") == (reuse, force, force)
    assert modes("hpo.run.mode=force_new", "decision.run.mode=reuse_if_exists") == (force, force, reuse)
    assert modes("hpo.run=null", "benchmark.run={mode: null}") == (reuse, reuse, reuse)


@pytest.mark.parametrize("stage", ["hpo", "benchmark", "decision"])
def test_an_unknown_mode_is_refused_with_file_line_and_the_three_modes(
    project_folder: Path, stage: str
) -> None:
    path = project_folder / "config" / f"{stage}.yaml"
    path.write_text(path.read_text() + "run:\n  mode: resume\n")
    line = path.read_text().splitlines().index("  mode: resume") + 1
    with pytest.raises(ConfigError) as caught:
        open_project(project_folder / "config")
    (fault,) = caught.value.faults
    assert fault.startswith(f"{path}:{line}:3: {stage}.run.mode: found 'resume'")
    assert all(str(mode) in fault for mode in RunMode)


# --- sweep ------------------------------------------------------------------------------------------------


def test_resume_starts_no_sweep(
    tiny_backbone: Path, tmp_path: Path, make_project: Callable[..., Path]
) -> None:
    config = make_project(tmp_path / "p", {"tiny": tiny_backbone}, {"hpo": {"run": {"mode": RESUME}}})
    (result,) = sweep(open_project(config))
    assert (result.action, result.n_trials) == ("left", 0)
    assert count_runs(open_project(config), "sweep", "hpo_sweep") == 0


def test_resume_finishes_an_interrupted_sweep_and_leaves_a_whole_one(reopen: Reopen) -> None:
    project = reopen(f"hpo.run.mode={RESUME}")
    assert [result.action for result in sweep(project)] == ["reused"]
    experiment_id = project.tracker.ensure_experiment("sweep")
    (sweep_run,) = project.tracker.search_runs(experiment_id, {tags.STAGE: "hpo_sweep"})
    project.tracker.end_run(sweep_run.info.run_id, "KILLED")  # as an interruption leaves it
    assert [result.action for result in sweep(project)] == ["resumed"]
    assert count_runs(project, "sweep", "hpo_sweep") == 1
    assert count_runs(project, "sweep", "hpo_trial") == 3


# --- bench ------------------------------------------------------------------------------------------------


def test_only_a_sweep_misses_a_missing_training_file(reopen: Reopen) -> None:
    project = reopen()
    (project.root / "data" / "train.jsonl").unlink()
    assert {planned.action for planned in plan(project).jobs} == {"reuse"}
    assert bench(project).measured == ()
    with pytest.raises(DataError, match=r"train\.jsonl: found no such file"):
        sweep(project)


def test_resume_starts_no_benchmark(reopen: Reopen) -> None:
    project = reopen(*NOOP, f"benchmark.run.mode={RESUME}")
    result = bench(project)
    assert (result.measured, result.failed) == ((), ())
    assert [planned.reason for planned in result.plan.left] == [
        "run.mode is resume_if_incomplete, and no job of this champion was begun"
    ]
    assert count_runs(project, "benchmark", "benchmark") == 4


@pytest.mark.slow
def test_resume_finishes_a_benchmark_of_which_a_job_is_missing(reopen: Reopen) -> None:
    bench(reopen(*NOOP))
    both = "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}, {kind: latency, batch_sizes: [3]}]"
    project = reopen(NOOP[0], both, f"benchmark.run.mode={RESUME}")
    assert [planned.action for planned in plan(project).jobs] == ["reuse", "measure"]
    assert len(bench(project).measured) == 1
    assert [planned.action for planned in plan(project).jobs] == ["reuse", "reuse"]


def test_resume_finishes_a_job_that_was_interrupted_between_two_processes(reopen: Reopen) -> None:
    project = reopen(*NOOP, f"benchmark.run.mode={RESUME}")
    (planned,) = plan(project).jobs
    assert planned.action == "leave"
    folder = project.results.work_folder(planned.job, 1, "repeat-0")
    assert plan(project).jobs[0].action == "leave"
    (folder / "outcome.json").write_text("{}")
    (planned,) = plan(project).jobs
    assert (planned.action, planned.attempt) == ("measure", 1)


# --- decide -----------------------------------------------------------------------------------------------


def doctor(project: Project) -> Decision:
    """Mark the stored decision, so that it is known again."""
    path = project.decision_path
    document = open_sealed(path.read_bytes())
    document["reasons"] = ["this one was stored"]
    path.write_bytes(seal_json(document))
    return load_decision(project)


def test_the_stored_decision_answers_while_its_inputs_are_the_same(reopen: Reopen) -> None:
    stored = doctor(reopen())
    assert decide(reopen()) == stored
    assert decide(reopen("decision.run.mode=reuse_if_exists", "benchmark.max_attempts=9")) == stored
    assert decide(reopen(f"decision.run.mode={RESUME}")) == stored


def test_other_settings_or_measurements_are_decided_anew(reopen: Reopen) -> None:
    stored = doctor(reopen())
    other_settings = decide(reopen("decision.confidence=0.9"))
    fewer = decide(reopen("benchmark.runtimes=[{kind: torch}]"))
    for decision in (other_settings, fewer, decide(reopen("decision.run.mode=force_new"))):
        assert decision.reasons != stored.reasons
    assert len({stored.inputs_digest, other_settings.inputs_digest, fewer.inputs_digest}) == 3


def test_the_run_mode_is_part_of_no_decision(reopen: Reopen) -> None:
    first = decide(reopen("decision.run.mode=force_new"))
    assert first == decide(reopen("decision.run.mode=force_new", "hpo.run.mode=force_new"))
    assert first == load_decision(reopen())


def test_deciding_anew_logs_a_run_of_its_own_and_deciding_again_does_not(reopen: Reopen) -> None:
    project = reopen()
    first = save_decision(project, decide(project))
    assert count_runs(project, "benchmark", "decision") == 1
    forced = reopen("decision.run.mode=force_new")
    second = save_decision(forced, decide(forced), is_new=True)
    assert first != second
    assert count_runs(project, "benchmark", "decision") == 2
    assert save_decision(project, decide(project)) == second
    assert count_runs(project, "benchmark", "decision") == 2


def test_a_report_that_comes_later_is_logged_beside_its_decision(reopen: Reopen, tmp_path: Path) -> None:
    project = reopen()
    page = tmp_path / "report.html"
    page.write_text("<!doctype html>")
    run_id = save_decision(project, load_decision(project), [page])
    assert run_id is not None
    assert project.tracker.list_artifacts(run_id, "decision") == [
        "decision/decision.json",
        "decision/report.html",
    ]
    assert count_runs(project, "benchmark", "decision") == 1


def test_resume_begins_no_decision(reopen: Reopen) -> None:
    project = reopen(f"decision.run.mode={RESUME}")
    project.decision_path.unlink()
    with pytest.raises(UserError, match="no decision to resume; set it to reuse_if_exists"):
        decide(project)


def test_a_stored_decision_that_cannot_be_read_is_made_again(
    reopen: Reopen, caplog: pytest.LogCaptureFixture
) -> None:
    project = reopen()
    good = load_decision(project)
    project.decision_path.write_text("{}")
    assert decide(project) == good
    assert "the stored decision is not used: " in caplog.text


def test_a_deleted_measurement_is_not_decided_upon(reopen: Reopen) -> None:
    from bakeoff.stores.tracking import create_client

    project = reopen()
    before = decide(project)
    experiment_id = project.tracker.ensure_experiment("benchmark")
    client = create_client(project.tracker.uri)
    for run in project.tracker.search_runs(experiment_id, {tags.RUNTIME: "onnxruntime-fp32"}):
        client.delete_run(run.info.run_id)
    after = decide(project)
    assert {standing.runtime for standing in before.standings} == {"torch-fp32", "onnxruntime-fp32"}
    assert {standing.runtime for standing in after.standings} == {"torch-fp32"}
