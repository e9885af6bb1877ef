"""Projects whose champions stand in a real tracking store and whose measurements are written, not taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Champion, FailedAttempt, Measurement
from bakeoff.measure.statistics.readings import LATENCY, Reading
from bakeoff.orchestrator import Project, open_project, select_champions
from bakeoff.orchestrator.plan import build_jobs
from bakeoff.stores import tags
from bakeoff.stores.results.views import LoggedRun
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking import Tracker, benchmarks
from copies import copy_project

SCENARIOS = "benchmark.scenarios=[{kind: latency, batch_sizes: [1, 8]}]"
RUNTIMES = "benchmark.runtimes=[{kind: noop, threads: 1}]"

Open = Callable[..., Project]


def write_champion(tracker: Tracker, experiment_id: str, name: str) -> None:
    """A finished trial and its refit, as a sweep leaves them; the number in the name gives the hashes."""
    number = int("".join(char for char in name if char.isdecimal()) or 0)
    shared = {
        tags.SCHEMA_VERSION: tags.TAG_SCHEMA,
        tags.BACKBONE: name,
        tags.STUDY_KEY_HASH: f"{number:064x}",
        tags.TRIAL_KEY_HASH: f"{number + 1000:064x}",
        tags.STUDY_KEY_SCHEMA_VERSION: "2.0",
        tags.DATA_FINGERPRINT: "d" * 64,
        tags.EVAL_FINGERPRINT: "e" * 64,
        tags.OBJECTIVE_METRIC: "f1",
        tags.OBJECTIVE_DIRECTION: "maximize",
        tags.PARENT_RUN_ID: "5" * 32,
    }
    trial = tracker.create_run(
        experiment_id, "trial", {**shared, tags.STAGE: Stage.TRIAL}, nonce=f"t{number}"
    )
    tracker.log(trial, metrics={"f1": 0.5})
    tracker.end_run(trial, "FINISHED")
    refit_tags = {
        tags.STAGE: Stage.REFIT,
        tags.REFIT_OF_TRIAL: trial,
        tags.ARTIFACT_AVAILABLE: "true",
        tags.CHECKPOINT_DIGEST: f"{number + 2000:064x}",
    }
    refit = tracker.create_run(experiment_id, "refit", shared | refit_tags, nonce=f"r{number}")
    tracker.end_run(refit, "FINISHED")


def write_store(folder: Path, n_backbones: int, make_project: Callable[..., Path], **changes: Any) -> Path:
    names = [f"bert-{number}" for number in range(n_backbones)]
    stages = {"selection": {"min_trials_per_group": 1}, **changes}
    config = make_project(folder, {name: folder / name for name in names}, stages)
    project = open_project(config)
    experiment_id = project.tracker.ensure_experiment("sweep")
    for name in names:
        write_champion(project.tracker, experiment_id, name)
    return folder


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, make_project: Callable[..., Path]) -> Path:
    """A project with two champions and nothing measured."""
    return write_store(tmp_path_factory.mktemp("written") / "project", 2, make_project)


@pytest.fixture
def open_written(written: Path, tmp_path: Path) -> Open:
    """Open a copy of it; every call opens the same copy anew."""
    folder = copy_project(written, tmp_path / "project")

    def reopen(*overrides: str, is_offline: bool = False) -> Project:
        return open_project(folder / "config", (RUNTIMES, SCENARIOS, *overrides), is_offline=is_offline)

    return reopen


@pytest.fixture(scope="session")
def write_champions() -> Callable[..., Path]:
    """The function that writes a project with many champions."""
    return write_store


def champions_of(project: Project) -> list[Champion]:
    return [row.champion for row in select_champions(project).values() if row.champion is not None]


def measurement_of(job: Job, attempt: int = 1, when: str = "2026-01-02T03:04:05+00:00") -> Measurement:
    readings = tuple(
        Reading(
            quantity=LATENCY,
            unit="ns",
            at={"batch_size": size},
            values=(1e6, 2e6),
            repeats=(0, 1),
            columns={},
        )
        for size in (1, 8)
    )
    return Measurement(
        job=job,
        attempt=attempt,
        measured_at=when,
        environment=Environment(hardware=job.hardware, libraries={"python": "3"}),
        readings=readings,
        flags=(),
        wall_s=1.0,
        timed_s=0.5,
    )


def failure_of(job: Job, attempt: int = 1) -> FailedAttempt:
    return FailedAttempt(
        job=job, attempt=attempt, failed_at="2026-01-02T03:04:05+00:00", reason="timeout", detail="1800 s"
    )


class Bench:
    """What a test asks of a project: its jobs, and attempts at them on disk and in the store."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.champions = champions_of(project)
        self.jobs: Sequence[Job] = [asked.job for asked in build_jobs(project, self.champions)]

    def keep(self, number: int = 0, attempt: int = 1) -> Measurement:
        """A valid measurement on disk, which the store has not heard of."""
        made = measurement_of(self.jobs[number], attempt)
        self.project.results.store(made)
        return made

    def keep_and_log(self, number: int = 0, attempt: int = 1, *, is_failure: bool = False) -> str:
        """An attempt on disk and in the store; returns its run."""
        job = self.jobs[number]
        made = failure_of(job, attempt) if is_failure else measurement_of(job, attempt)
        self.project.results.store(made)
        tracker = self.project.tracker
        experiment_id = tracker.ensure_experiment("benchmark")
        files = self.project.results.attempt_files(made)
        run_id = benchmarks.log_attempt(tracker, experiment_id, made, files, may_exist=False).run_id
        logged = LoggedRun(store=tracker.shown_uri, experiment_id=experiment_id, run_id=run_id)
        self.project.results.mark_logged(made, logged)
        return run_id


@pytest.fixture(scope="session")
def make_bench() -> Callable[[Project], Bench]:
    """The function that puts attempts into a project."""
    return Bench
