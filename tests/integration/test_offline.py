"""Offline the disk answers, and says so; nothing is asked of the tracking store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.disk.sealed import seal_json
from bakeoff.errors import DataError, TrackingError, UserError
from bakeoff.orchestrator import (
    Project,
    bench,
    decide,
    filter_missing_benchmarks,
    open_project,
    plan,
    recall_selection,
    save_decision,
    select_champions,
)
from bakeoff.stores import tags
from bakeoff.stores.tracking import create_client
from command_line import bakeoff, read_document

NOOP = ("benchmark.runtimes=[{kind: noop}]", "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]")
NOTHING_LISTENS = "tracking.uri=http://user:secret@127.0.0.1:9"

OpenOffline = Callable[..., Project]


@pytest.fixture
def offline(project_folder: Path) -> OpenOffline:
    """Open the copied project offline, its tracking store out of reach."""
    return lambda *overrides: open_project(
        project_folder / "config", (NOTHING_LISTENS, *overrides), is_offline=True
    )


def test_plan_bench_and_decide_answer_from_the_disk_without_one_request(
    offline: OpenOffline, project_folder: Path
) -> None:
    online = [planned.model_dump() for planned in plan(open_project(project_folder / "config")).jobs]
    project = offline()
    assert [planned.model_dump() for planned in plan(project).jobs] == online
    result = bench(project)
    assert (result.measured, result.failed, len(result.plan.reused)) == ((), (), 4)
    decision = decide(project)
    assert decision == decide(open_project(project_folder / "config"))
    assert save_decision(project, decision) is None
    champions = [row.champion for row in select_champions(project).values() if row.champion]
    assert filter_missing_benchmarks(champions, project) == []
    assert project.tracker.n_requests == 0


def test_what_is_measured_offline_waits_on_disk_and_the_next_bench_sends_it(
    offline: OpenOffline, project_folder: Path
) -> None:
    result = bench(offline(*NOOP))
    assert (len(result.measured), result.unlogged) == (1, 1)
    (measured,) = result.measured
    assert [planned.action for planned in plan(offline(*NOOP)).jobs] == ["log"]
    again = bench(offline(*NOOP))
    assert (again.measured, again.unlogged) == ((), 1)
    online = open_project(project_folder / "config", NOOP)
    assert (bench(online).measured, bench(online).unlogged) == ((), 0)
    experiment_id = online.tracker.ensure_experiment("benchmark")
    runs = list(online.tracker.search_runs(experiment_id, {tags.BENCHMARK_KEY: measured.job.key}))
    assert [run.data.tags[tags.MEASURED_AT] for run in runs] == [measured.measured_at]


def test_sync_sends_what_was_measured_and_decided_offline_and_leaves_with_5_while_it_cannot(
    offline: OpenOffline, project_folder: Path
) -> None:
    (measured,) = bench(offline(*NOOP)).measured
    weights = "decision.objective={kind: weighted, weights: {quality: 0.5, latency: 0.5}}"
    save_decision(offline(weights), decide(offline(weights)))
    down = bakeoff(project_folder, "sync", f"--set={NOTHING_LISTENS}")
    assert down.returncode == 5
    assert f"waits: {measured.job.label}, attempt 1\nwaits: decision: " in down.stdout
    assert "0 sent, 2 waiting on disk: tracking store http://user:***@127.0.0.1:9" in down.stdout
    up = bakeoff(project_folder, "sync", "--json")
    assert (up.returncode, read_document(up.stdout)["result"]["waiting"]) == (0, [])
    assert len(read_document(up.stdout)["result"]["sent"]) == 2
    again = bakeoff(project_folder, "sync")
    assert (again.returncode, again.stdout) == (0, "0 sent, 0 waiting on disk\n")
    assert [planned.action for planned in plan(open_project(project_folder / "config", NOOP)).jobs] == [
        "reuse"
    ]


def test_a_checkpoint_that_is_not_on_this_disk_fails_its_jobs_offline_and_uses_up_no_attempt(
    offline: OpenOffline, project_folder: Path
) -> None:
    for marker in project_folder.glob(".cache/checkpoints/*/COMPLETE"):
        marker.unlink()
    result = bench(offline(*NOOP))
    assert result.measured == ()
    assert ["--offline" in attempt.reason for attempt in result.failed] == [True]
    assert [(p.action, p.attempt) for p in plan(offline(*NOOP)).jobs] == [("measure", 1)]


def test_without_offline_an_outage_is_an_error_of_every_stage(project_folder: Path) -> None:
    project = open_project(project_folder / "config", (NOTHING_LISTENS,))
    with pytest.raises(TrackingError, match="connection refused"):
        plan(project)


def test_every_selection_that_finds_a_champion_is_kept_for_later(project_folder: Path) -> None:
    project = open_project(project_folder / "config")
    project.selection_path.unlink()
    selections = select_champions(project)
    kept = recall_selection(project)
    assert kept.selections == selections
    assert kept.store == project.tracker.shown_uri
    assert kept.selected_at.startswith("20")


def test_offline_without_a_kept_selection_is_a_clear_error(offline: OpenOffline) -> None:
    project = offline()
    project.selection_path.unlink()
    with pytest.raises(UserError, match=r"champions\.json: no selection was kept.*run `bakeoff champions`"):
        plan(project)


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_a_broken_selection_file_is_a_clear_error(offline: OpenOffline, text: str) -> None:
    project = offline()
    project.selection_path.write_text(text)
    with pytest.raises(DataError, match=r"champions\.json: found .+; expected a file that bakeoff wrote"):
        plan(project)


def test_a_selection_of_another_format_says_what_to_do(offline: OpenOffline) -> None:
    project = offline()
    project.selection_path.write_text('{"format_version": 3}')
    expected = r"champions\.json: found a file of format 3, without a digest; .*; run `bakeoff champions`"
    with pytest.raises(DataError, match=expected):
        plan(project)
    project.selection_path.write_bytes(seal_json({"format_version": 3}))
    with pytest.raises(DataError, match=r"champions\.json: found a file of format 3, not 4; expected a file"):
        plan(project)


@pytest.mark.parametrize(
    "override",
    [
        "selection.min_trials_per_group=2",
        "tracking.sweep_experiment=other",
        "hpo.backbones.second={pretrained: x}",
    ],
)
def test_a_selection_of_other_settings_does_not_answer(offline: OpenOffline, override: str) -> None:
    with pytest.raises(UserError, match="was made with other settings"):
        plan(offline(override))


@pytest.mark.parametrize(
    "override",
    ["tracking.artifact_location=kept", "tracking.claim_expiry_s=60", "tracking.registered_model=other"],
)
def test_a_setting_that_selects_nothing_leaves_the_kept_selection_of_use(
    offline: OpenOffline, override: str
) -> None:
    assert plan(offline(override)).jobs


def test_every_stage_says_that_it_answers_offline_and_as_of_when(project_folder: Path) -> None:
    selected_at = recall_selection(open_project(project_folder / "config")).selected_at
    dead = f"--set={NOTHING_LISTENS}"
    for stage in ("plan", "bench", "decide"):
        shown = bakeoff(project_folder, stage, "--offline", dead)
        assert shown.returncode == 0, shown.stderr
        assert "offline: used only this disk" in shown.stdout
        assert selected_at in shown.stdout
        document = read_document(bakeoff(project_folder, stage, "--offline", "--json", dead).stdout)
        assert document["offline"]["champions_selected_at"] == selected_at
    assert read_document(bakeoff(project_folder, "plan", "--json").stdout)["offline"] is None


def test_a_decision_made_offline_is_logged_by_the_next_decide(
    offline: OpenOffline, project_folder: Path
) -> None:
    client = create_client(open_project(project_folder / "config").tracker.uri)
    weights = "decision.objective={kind: weighted, weights: {quality: 0.5, latency: 0.5}}"
    made = decide(offline(weights))
    save_decision(offline(weights), made)
    online = open_project(project_folder / "config", (weights,))
    again = decide(online)
    assert again == made
    run_id = save_decision(online, again)
    assert run_id is not None
    assert client.get_run(run_id).data.tags[tags.STAGE] == "decision"
