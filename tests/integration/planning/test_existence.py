"""What counts as measured: MLflow is asked once, and has the last word."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bakeoff
from bakeoff.core.plan.existing import valid_attempts
from bakeoff.core.records import Attempt
from bakeoff.errors import TrackingError, UserError
from bakeoff.orchestrator import Project, bench, filter_missing_benchmarks, plan, select_champions
from bakeoff.orchestrator.plan import find_existing, plan_for
from bakeoff.stores import tags
from bakeoff.stores.tracking import Tracker, create_client
from bakeoff.stores.tracking.benchmarks import log_attempt

Open = Callable[..., Project]
MakeBench = Callable[[Project], Any]
NOTHING_LISTENS = "tracking.uri=http://127.0.0.1:9"


def facts(project: Project) -> list[tuple[str, str, int]]:
    return [(planned.action, planned.reason, planned.attempt) for planned in plan(project).jobs]


def requests_of(tracker: Tracker, act: Callable[[], object]) -> int:
    before = tracker.n_requests
    act()
    return tracker.n_requests - before


def test_the_champions_with_work_left_are_told_and_force_new_names_all(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written()
    shelf = make_bench(project)
    first, second = shelf.champions
    assert filter_missing_benchmarks([first, second], project) == [first, second]
    shelf.keep_and_log(0)
    assert bakeoff.filter_missing_benchmarks([first, second], project) == [second]
    shelf.keep(1)
    assert filter_missing_benchmarks([second, first], project) == []
    forced = open_written("benchmark.run.mode=force_new")
    assert filter_missing_benchmarks([second, first], forced) == [second, first]
    resumed = open_written("benchmark.run.mode=resume_if_incomplete", "benchmark.protocol.seed=5")
    assert filter_missing_benchmarks([first, second], resumed) == []


def test_all_champions_cost_one_query_and_none_cost_none(open_written: Open, make_bench: MakeBench) -> None:
    project = open_written()
    shelf = make_bench(project)
    shelf.keep_and_log(0)
    for champions in (shelf.champions, shelf.champions[:1]):
        assert requests_of(project.tracker, lambda: filter_missing_benchmarks(champions, project)) == 1  # noqa: B023
    assert requests_of(project.tracker, lambda: filter_missing_benchmarks([], project)) == 0


def test_an_outage_is_no_answer(open_written: Open, make_bench: MakeBench) -> None:
    champions = make_bench(open_written()).champions
    with pytest.raises(TrackingError, match="connection refused"):
        filter_missing_benchmarks(champions, open_written(NOTHING_LISTENS))


def test_a_failed_attempt_of_the_store_is_told_and_tried_again_until_its_attempts_are_used_up(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written("benchmark.max_attempts=2")
    shelf = make_bench(project)
    shelf.keep_and_log(0, 1, is_failure=True)
    shutil.rmtree(project.results.folder / "jobs")
    assert facts(project)[0] == ("measure", "earlier attempt failed: timeout 1800 s", 2)
    shelf.keep_and_log(0, 2, is_failure=True)
    assert facts(project)[0][:1] == ("leave",)


@pytest.mark.parametrize("status", ["RUNNING", "SCHEDULED", "KILLED"])
def test_a_run_that_did_not_end_is_no_evidence(
    open_written: Open, make_bench: MakeBench, status: str
) -> None:
    project = open_written()
    run_id = make_bench(project).keep_and_log(0)
    shutil.rmtree(project.results.folder / "jobs")
    assert facts(project)[0][0] == "reuse"
    create_client(project.tracker.uri).update_run(run_id, status=status)
    assert facts(project)[0] == ("measure", "new champion", 1)


def test_a_finished_run_that_says_it_is_invalid_does_not_count(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written()
    run_id = make_bench(project).keep_and_log(0)
    shutil.rmtree(project.results.folder / "jobs")
    project.tracker.log(run_id, tags={tags.VALIDITY: "contention"})
    assert facts(project)[0] == ("measure", "earlier attempt invalid: contention", 2)


def test_a_selection_is_told_even_where_it_cannot_be_kept(open_written: Open) -> None:
    project = open_written()
    project.results.folder.write_text("a file where the folder should be")
    assert all(row.champion for row in select_champions(project).values())


# --- deleted, elsewhere, lost -----------------------------------------------------------------------------


def test_what_was_deleted_in_the_store_is_measured_again_and_the_copy_on_disk_stays(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written()
    shelf = make_bench(project)
    run_id = shelf.keep_and_log(0)
    assert facts(project)[0][0] == "reuse"
    create_client(project.tracker.uri).delete_run(run_id)
    assert facts(project)[0] == ("measure", f"its run {run_id} was deleted", 2)
    copy = project.results.load(shelf.jobs[0].key, 1)
    assert copy.attempt == 1
    existing = find_existing(project, shelf.champions)
    assert valid_attempts(existing, shelf.jobs[0].key) == frozenset()
    assert filter_missing_benchmarks(shelf.champions, project) == shelf.champions


def test_a_deleted_run_that_is_restored_counts_again(open_written: Open, make_bench: MakeBench) -> None:
    project = open_written()
    run_id = make_bench(project).keep_and_log(0)
    client = create_client(project.tracker.uri)
    client.delete_run(run_id)
    assert facts(project)[0][0] == "measure"
    client.restore_run(run_id)
    assert facts(project)[0][:2] == ("reuse", f"measured 2026-01-02T03:04:05+00:00, run {run_id}")


def test_a_deleted_experiment_takes_its_measurements_with_it_and_bench_says_so_before_measuring(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written()
    run_id = make_bench(project).keep_and_log(0)
    client = create_client(project.tracker.uri)
    client.delete_experiment(project.tracker.ensure_experiment("benchmark"))
    again = open_written()
    assert facts(again)[0] == ("measure", f"its run {run_id} was deleted", 2)
    with pytest.raises(UserError, match="'benchmark' was deleted; restore it, or choose another name"):
        bench(open_written())


def test_asking_about_a_deleted_run_costs_one_query_more_and_only_then(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written()
    shelf = make_bench(project)
    runs = [shelf.keep_and_log(0), shelf.keep_and_log(1)]
    assert requests_of(project.tracker, lambda: plan_for(project, shelf.champions)) == 1
    for run_id in runs:
        create_client(project.tracker.uri).delete_run(run_id)
    assert requests_of(project.tracker, lambda: plan_for(project, shelf.champions)) == 2
    shelf.keep_and_log(0, 2)
    shelf.keep_and_log(1, 2)
    assert requests_of(project.tracker, lambda: plan_for(project, shelf.champions)) == 1


def other_store(project: Project, folder: Path) -> str:
    """The same sweep in another store, which knows no benchmark run."""
    copy = folder / "other.db"
    shutil.copy(project.tracker.uri.removeprefix("sqlite:///"), copy)
    return f"tracking.uri=sqlite:///{copy}"


def test_what_another_store_never_heard_of_is_logged_there_and_not_measured_again(
    open_written: Open, make_bench: MakeBench, tmp_path: Path
) -> None:
    project = open_written()
    shelf = make_bench(project)
    elsewhere = other_store(project, tmp_path)
    first = shelf.keep_and_log(0), shelf.keep_and_log(1)
    moved = open_written(elsewhere)
    assert [fact[:2] for fact in facts(moved)] == [
        ("log", "measured 2026-01-02T03:04:05+00:00, not yet in the tracking store")
    ] * 2
    result = bench(open_written(elsewhere))
    assert (result.measured, result.failed, result.unlogged) == ((), (), 0)
    assert [planned.action for planned in plan(open_written(elsewhere)).jobs] == ["reuse", "reuse"]
    marks = [project.results.find_logged(job.key, 1) for job in shelf.jobs]
    assert {mark.store for mark in marks if mark} == {open_written(elsewhere).tracker.shown_uri}
    # Back in the first store nothing is logged twice: its runs are found by their key.
    bench(open_written())
    back = [project.results.find_logged(job.key, 1) for job in shelf.jobs]
    assert [fact[0] for fact in facts(open_written())] == ["reuse", "reuse"]
    assert sorted(mark.run_id for mark in back if mark) != []
    experiment_id = project.tracker.ensure_experiment("benchmark")
    logged = {run.info.run_id for run in project.tracker.search_runs(experiment_id, {})}
    assert logged == set(first)


def test_a_mark_names_store_and_run_without_password(open_written: Open, make_bench: MakeBench) -> None:
    project = open_written()
    shelf = make_bench(project)
    run_id = shelf.keep_and_log(0)
    mark = project.results.find_logged(shelf.jobs[0].key, 1)
    assert mark is not None
    assert (mark.run_id, mark.store) == (run_id, project.tracker.shown_uri)


@pytest.mark.parametrize("text", ["", "{", "a" * 32, '{"format_version": 2}'])
def test_a_mark_that_cannot_be_read_costs_a_query_and_neither_a_measurement_nor_a_second_run(
    open_written: Open, make_bench: MakeBench, text: str
) -> None:
    project = open_written()
    shelf = make_bench(project)
    run_id = shelf.keep_and_log(0), shelf.keep_and_log(1)
    (mark,) = (project.results.folder / "jobs" / shelf.jobs[0].key_digest).glob("*.logged")
    mark.write_text(text)
    assert bench(open_written()).measured == ()
    found = project.results.find_logged(shelf.jobs[0].key, 1)
    assert found is not None
    assert found.run_id == run_id[0]


# --- older writers ----------------------------------------------------------------------------------------

ENOUGH = {"backend": "noop", "batch_sizes": "[1, 8]", "device": "cpu"}


def write_older(project: Project, champion: Any, prefix: str, params: dict[str, str], **more: str) -> str:
    """A benchmark run of a writer that knew hashes and no benchmark key."""
    tracker = project.tracker
    hashes = {
        f"{prefix}stage": "benchmark",
        f"{prefix}study_key_hash": champion.study_key_hash,
        f"{prefix}trial_key_hash": champion.trial_key_hash,
    }
    named = {f"{prefix}{name}": value for name, value in more.items()}
    run_id = tracker.create_run(
        tracker.ensure_experiment("benchmark"), "older", hashes | named, nonce=f"{prefix}{params}{more}"
    )
    tracker.log(run_id, params=params)
    tracker.end_run(run_id, "FINISHED")
    return run_id


@pytest.mark.parametrize("prefix", ["bakeoff.", "code."])
@pytest.mark.parametrize(
    "params",
    [
        ENOUGH,
        {"benchmark_backend": "noop", "benchmark_batch_sizes": "[1, 8]", "benchmark_device": "cpu"},
        {**ENOUGH, "max_length": "32", "threads": "1"},
        {"runtime.kind": '"noop"', "scenario.batch_sizes": "[1,8]", "runtime.device": '"cpu"'},
    ],
)
def test_a_run_without_key_counts_if_all_that_it_recorded_agrees(
    open_written: Open, make_bench: MakeBench, prefix: str, params: dict[str, str]
) -> None:
    project = open_written()
    run_id = write_older(project, make_bench(project).champions[0], prefix, params)
    planned, other = plan(project).jobs
    assert (planned.action, planned.run_id, planned.has_readings) == ("reuse", run_id, False)
    assert f"run {run_id} of an older writer with equal settings" in planned.reason
    assert other.reason == "new champion"
    result = filter_missing_benchmarks(make_bench(project).champions, project)
    assert [champion.backbone for champion in result] == ["bert-1"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {name: value for name, value in ENOUGH.items() if name != "backend"},
        {name: value for name, value in ENOUGH.items() if name != "device"},
        {name: value for name, value in ENOUGH.items() if name != "batch_sizes"},
        ENOUGH | {"batch_sizes": "[1, 16]"},
        ENOUGH | {"device": "cuda"},
        ENOUGH | {"device": "auto"},
        ENOUGH | {"backend": "torch"},
        ENOUGH | {"max_length": "128"},
        ENOUGH | {"cpu_model": "another CPU"},
        ENOUGH | {"iterations": "100"},
    ],
)
def test_a_run_without_key_that_recorded_too_little_or_anything_else_is_no_match(
    open_written: Open, make_bench: MakeBench, params: dict[str, str]
) -> None:
    project = open_written()
    write_older(project, make_bench(project).champions[0], "code.", params)
    assert plan(project).jobs[0].action == "measure"


@pytest.mark.parametrize("prefix", ["bakeoff.", "code."])
def test_a_run_with_another_key_is_never_a_match_however_much_agrees(
    open_written: Open, make_bench: MakeBench, prefix: str
) -> None:
    project = open_written()
    champion = make_bench(project).champions[0]
    write_older(project, champion, prefix, ENOUGH, benchmark_key="a:b:c:d")
    assert plan(project).jobs[0].action == "measure"


def test_a_run_without_key_of_another_trial_or_stage_is_no_match(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written()
    first, second = make_bench(project).champions
    mixed = first.model_copy(update={"trial_key_hash": second.trial_key_hash})
    write_older(project, mixed, "code.", ENOUGH)
    write_older(project, first, "code.", ENOUGH, stage="hpo_trial")
    assert [planned.action for planned in plan(project).jobs] == ["measure", "measure"]


def test_bench_reuses_an_older_run_without_looking_for_readings_that_it_never_wrote(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written()
    shelf = make_bench(project)
    write_older(project, shelf.champions[0], "code.", ENOUGH)
    shelf.keep_and_log(1)
    result = bench(open_written())
    assert (result.measured, result.failed) == ((), ())
    assert list(result.result_files) == ["bert-1"]


def test_two_machines_that_end_the_same_attempt_in_the_same_second_keep_a_run_each(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written()
    shelf = make_bench(project)
    ours = shelf.keep(0)
    theirs = ours.model_copy(update={"wall_s": 2.0})
    experiment_id = project.tracker.ensure_experiment("benchmark")
    files = project.results.attempt_files(ours)

    def log(attempt: Attempt) -> str:
        return log_attempt(project.tracker, experiment_id, attempt, files, may_exist=True).run_id

    first = log(theirs)
    loaded = project.results.load(ours.job.key, ours.attempt)
    assert log(loaded) == log(ours) != first


def test_a_damaged_result_is_planned_again_and_the_others_are_reused(
    open_written: Open, make_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = make_bench(open_written())
    kept = [shelf.keep(number) for number in (0, 1)]
    path, _ = shelf.project.results.attempt_files(kept[0])
    path.unlink()
    os.mkfifo(path)  # which nobody writes into: reading it would wait for ever
    plans = [facts(open_written(is_offline=is_offline)) for is_offline in (False, True)]
    assert [[action == "measure" for action, *_ in each] for each in plans] == [[True, False]] * 2
    assert f"{path}: found a FIFO, not a regular file" in caplog.text
    (damaged,) = open_written().results.set_damaged_aside()
    assert not os.path.lexists(path)
    assert damaged.is_fifo()


def test_a_damaged_result_that_was_logged_is_fetched_not_measured_again(
    open_written: Open, make_bench: MakeBench
) -> None:
    project = open_written()
    shelf = make_bench(project)
    for number in (0, 1):
        shelf.keep_and_log(number)
    whole = project.results.load(shelf.jobs[0].key, 1)
    path, arrays = project.results.attempt_files(whole)
    arrays.write_bytes(arrays.read_bytes()[:-100])
    result = bench(open_written())
    assert result.measured == ()
    assert open_written().results.load(shelf.jobs[0].key, 1) == whole
    assert len(list(path.parents[2].glob("damaged/*/001-*.npz"))) == 1
