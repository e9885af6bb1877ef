"""Where files of runs lie if no server takes them: never in the folder that a command happens to run in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.orchestrator import Project, open_project
from bakeoff.orchestrator.setup.doctor import Check, check_project

Open = Callable[..., Project]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that several project folders use, each as another machine would."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    return str(request.getfixturevalue("postgres_uri"))


@pytest.fixture
def open_at(database: str, tmp_path: Path, make_project: Callable[..., Path]) -> Open:
    """Open a project of its own folder on that database."""

    def open_folder(folder: str, **tracking: Any) -> Project:
        changes = {"tracking": {"uri": database, **tracking}}
        return open_project(make_project(tmp_path / folder, {"tiny": tmp_path}, changes))

    return open_folder


def log_a_file(project: Project, experiment: str = "a sweep") -> str:
    """Log a file to a new run of an experiment that this makes; returns the run's id."""
    tracker = project.tracker
    run_id = tracker.create_run(tracker.ensure_experiment(experiment), "refit", {}, nonce=experiment)
    path = project.root / "weights.bin"
    path.write_text("weights")
    tracker.log_files(run_id, [path], "checkpoint")
    return run_id


def read_it(project: Project, run_id: str) -> str:
    folder = project.root / "fetched"
    folder.mkdir()
    return (project.tracker.download(run_id, "checkpoint", folder) / "weights.bin").read_text()


def check_artifacts(project: Project) -> list[Check]:
    return [check for check in check_project(project) if check.name == "artifacts"]


def test_without_a_location_files_lie_in_the_project_and_not_where_the_command_runs(
    open_at: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    project = open_at("mine")
    log_a_file(project)
    assert list(elsewhere.iterdir()) == []
    assert [path.read_text() for path in (project.root / "mlartifacts" / "a sweep").rglob("*.bin")] == [
        "weights"
    ]


def test_a_location_is_where_every_project_of_the_team_puts_files_and_finds_them(
    open_at: Open, tmp_path: Path
) -> None:
    disk = tmp_path / "team disk"
    mine = open_at("mine", artifact_location=str(disk))
    run_id = log_a_file(mine)
    assert not (mine.root / "mlartifacts").exists()
    assert [path.name for path in (disk / "a sweep").rglob("*.bin")] == ["weights.bin"]
    assert read_it(open_at("theirs", artifact_location=disk.as_uri()), run_id) == "weights"


def test_a_relative_location_is_taken_from_the_project_folder(open_at: Open) -> None:
    project = open_at("mine", artifact_location="kept")
    log_a_file(project)
    assert [path.name for path in (project.root / "kept" / "a sweep").rglob("*.bin")] == ["weights.bin"]
    assert project.settings_for_nodes.tracking.artifact_location == (project.root / "kept").as_uri()


@pytest.mark.parametrize(
    "location", ["s3://team/mlflow", "mlflow-artifacts:/team", "dbfs:/team", "file:/mnt/team"]
)
def test_a_uri_stays_what_it_is(open_at: Open, location: str) -> None:
    assert open_at("mine", artifact_location=location).artifact_location == location


def test_an_experiment_that_is_there_keeps_the_location_that_it_has(open_at: Open, tmp_path: Path) -> None:
    log_a_file(open_at("mine", artifact_location=str(tmp_path / "first")))
    other = open_at("theirs", artifact_location=str(tmp_path / "second"))
    assert read_it(other, log_a_file(other, "a sweep")) == "weights"
    assert not (tmp_path / "second").exists()


@pytest.mark.slow
def test_doctor_says_that_a_bare_database_has_no_place_for_files_that_all_reach(
    postgres_uri: str, tmp_path: Path, make_project: Callable[..., Path]
) -> None:
    config = make_project(tmp_path, {"tiny": tmp_path}, {"tracking": {"uri": postgres_uri}})
    (bare,) = check_artifacts(open_project(config))
    assert (bare.state, bare.exit_code) == ("warning", 0)
    assert str(tmp_path / "mlartifacts") in bare.found
    assert "set tracking.artifact_location to storage that all machines reach" in bare.fix
    (set_,) = check_artifacts(open_project(config, ["tracking.artifact_location=s3://team/mlflow"]))
    assert (set_.state, set_.fix) == ("ok", "")
    assert "s3://team/mlflow" in set_.found


@pytest.mark.slow
def test_a_server_says_itself_where_files_go(
    mlflow_uri: str, tmp_path: Path, make_project: Callable[..., Path]
) -> None:
    changes = {"tracking": {"uri": mlflow_uri}}
    project = open_project(make_project(tmp_path / "project", {"tiny": tmp_path}, changes))
    assert project.artifact_location is None
    assert check_artifacts(project) == []
    assert read_it(project, log_a_file(project)) == "weights"
    assert not (project.root / "mlartifacts").exists()
    (beside,) = check_artifacts(
        open_project(tmp_path / "project" / "config", ["tracking.artifact_location=kept"])
    )
    assert beside.state == "warning"
    assert "not on the server" in beside.found
