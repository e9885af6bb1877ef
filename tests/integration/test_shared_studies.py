"""A study that several processes share: every trial is run once, by whoever lives."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bakeoff.core.config.search_space import FloatRange
from bakeoff.core.config.settings import WorkerSettings
from bakeoff.errors import MissingExtraError, StudyError
from bakeoff.install import install_command
from bakeoff.run.training.search import Params, StudyPlan
from bakeoff.run.training.study import SharedStudy, TrialClaim
from services import closed_port

RATE = FloatRange(kind="float", low=0.001, high=1.0, log=True)
# Nobody waits for so long, and nobody who lives is silent for so long: tests set the last beat back.
SILENT_S = 3600
WORKERS = WorkerSettings(heartbeat_interval_s=1, heartbeat_grace_s=SILENT_S // 2, max_retries=1)
HELPER = """
import sys
from bakeoff.run.training.search import Params, StudyPlan
from bakeoff.run.training.study import SharedStudy

study = SharedStudy(StudyPlan.model_validate_json(sys.argv[1]))
assert study.join("s")
while claim := study.claim():
    with claim.alive():
        assert claim.complete(claim.params["rate"])
        print(claim.number, flush=True)
"""
MakePlan = Callable[..., StudyPlan]


@pytest.fixture
def make_plan(tmp_path: Path) -> MakePlan:
    def make(storage: str = f"sqlite:///{tmp_path / 'optuna.db'}", n_trials: int = 3) -> StudyPlan:
        return StudyPlan(
            storage=storage,
            direction="maximize",
            search_space={"rate": RATE},
            n_trials=n_trials,
            seed=7,
            workers=WORKERS,
        )

    return make


def lay_out(plan: StudyPlan) -> SharedStudy:
    study = SharedStudy(plan)
    study.lay_out("s")
    return study


def take(study: SharedStudy) -> TrialClaim:
    claim = study.claim()
    assert claim is not None
    return claim


def read_beats(plan: StudyPlan) -> list[str]:
    """When each trial last heard of its process; equally long texts that sort as times do."""
    with closing(sqlite3.connect(plan.storage.removeprefix("sqlite:///"))) as database:
        return [row[0][:19] for row in database.execute("SELECT heartbeat FROM trial_heartbeats ORDER BY 1")]


def fall_silent(plan: StudyPlan) -> None:
    """Set every beat back, as if its process had been silent since."""
    set_back = "UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, ?)"
    with closing(sqlite3.connect(plan.storage.removeprefix("sqlite:///"), timeout=60)) as database, database:
        database.execute(set_back, (f"-{SILENT_S} seconds",))


def claim_in_four_processes(plan: StudyPlan) -> list[int]:
    """The numbers of the trials that four processes at once claimed and completed."""
    command = [sys.executable, "-c", HELPER, plan.model_dump_json()]
    helpers = [subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) for _ in range(4)]
    printed = [helper.communicate(timeout=300)[0] for helper in helpers]
    assert [helper.returncode for helper in helpers] == [0] * 4
    return sorted(int(line) for lines in printed for line in lines.split())


@pytest.mark.slow
def test_four_processes_on_one_sqlite_file_run_every_trial_once_and_none_too_many(
    make_plan: MakePlan,
) -> None:
    study = lay_out(make_plan(n_trials=30))
    assert claim_in_four_processes(study.plan) == list(range(30))
    assert Counter(study.states().values()) == {"COMPLETE": 30}


@pytest.mark.slow
def test_four_processes_on_postgresql_run_every_trial_once_and_none_too_many(
    make_plan: MakePlan, postgres_uri: str
) -> None:
    study = lay_out(make_plan(postgres_uri, n_trials=60))
    assert claim_in_four_processes(study.plan) == list(range(60))
    assert Counter(study.states().values()) == {"COMPLETE": 60}


def test_the_trial_of_a_silent_process_is_tried_again_with_its_parameters_up_to_the_bound(
    make_plan: MakePlan,
) -> None:
    plan = make_plan(n_trials=1)
    silent, other = lay_out(plan), SharedStudy(plan)
    assert other.join("s")
    first = take(silent)
    assert other.reap() == ()
    fall_silent(plan)
    (lost,) = other.reap()
    assert (lost.number, lost.is_retried) == (0, True)
    second = take(other)
    assert (second.number, second.retry_of, second.params) == (1, 0, first.params)
    fall_silent(plan)
    (lost,) = silent.reap()
    assert (lost.number, lost.is_retried) == (1, False)
    assert silent.claim() is None


def test_a_process_that_comes_back_cannot_end_the_trial_that_was_taken_from_it(make_plan: MakePlan) -> None:
    plan = make_plan(n_trials=1)
    silent, other = lay_out(plan), SharedStudy(plan)
    assert other.join("s")
    claim = take(silent)
    fall_silent(plan)
    assert len(other.reap()) == 1
    assert not claim.is_ours()
    assert not claim.complete(0.5)
    assert not claim.prune()
    assert not claim.give_back(is_counted=True)
    assert take(other).complete(0.4)
    assert other.states() == {0: "FAIL", 1: "COMPLETE"}


def test_a_process_that_beats_keeps_its_trial(make_plan: MakePlan) -> None:
    plan = make_plan(n_trials=1)
    study, other = lay_out(plan), SharedStudy(plan)
    assert other.join("s")
    claim = take(study)
    begin = read_beats(plan)
    with claim.alive():
        fall_silent(plan)
        deadline = time.monotonic() + 300
        while read_beats(plan) < begin and time.monotonic() < deadline:
            time.sleep(0.1)
        assert other.reap() == ()
    assert claim.complete(0.5)


def test_a_trial_that_is_given_back_by_an_interrupt_costs_no_retry(make_plan: MakePlan) -> None:
    study = lay_out(make_plan(n_trials=1))
    params = []
    for _ in range(WORKERS.max_retries + 2):
        claim = take(study)
        params.append(claim.params)
        assert claim.give_back(is_counted=False)
    assert all(drawn == params[0] for drawn in params)
    assert take(study).give_back(is_counted=True)
    assert not take(study).give_back(is_counted=True)
    assert study.claim() is None


def test_one_seed_draws_the_same_points_whoever_runs_the_trials(make_plan: MakePlan, tmp_path: Path) -> None:
    alone = lay_out(make_plan(n_trials=14))
    drawn: list[Params] = []
    while claim := alone.claim():
        drawn.append(claim.params)
        claim.complete(float(claim.params["rate"]))
    plan = make_plan(f"sqlite:///{tmp_path / 'other.db'}", n_trials=14)
    pair = [lay_out(plan), SharedStudy(plan)]
    assert pair[1].join("s")
    taken: list[Params] = []
    while claim := pair[len(taken) % 2].claim():
        taken.append(claim.params)
        claim.complete(float(claim.params["rate"]))
    assert taken == drawn  # ten at random, then by the model
    assert len({params["rate"] for params in drawn}) == 14


def test_a_study_that_is_taken_up_gets_more_trials_or_fewer(make_plan: MakePlan) -> None:
    assert take(lay_out(make_plan(n_trials=3))).complete(0.5)
    more = lay_out(make_plan(n_trials=5))
    assert more.count("WAITING") == 4
    fewer = lay_out(make_plan(n_trials=2))
    assert fewer.count("WAITING") == 1
    assert take(fewer).complete(0.5)
    assert fewer.claim() is None
    assert lay_out(make_plan(n_trials=4)).count("WAITING") == 2


def test_a_study_that_nobody_laid_out_cannot_be_joined(make_plan: MakePlan) -> None:
    plan = make_plan()
    study = SharedStudy(plan)
    assert not study.join("s")
    lay_out(plan)
    assert study.join("s")


@pytest.fixture
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bakeoff.run.training.study_storage.RETRY_WAITS_S", (0.1, 0.1))


@pytest.mark.usefixtures("_no_patience")
def test_a_storage_that_does_not_answer_is_named_without_its_password(make_plan: MakePlan) -> None:
    told: list[str] = []
    with closed_port() as port, pytest.raises(StudyError) as caught:
        SharedStudy(make_plan(f"postgresql://me:secret@127.0.0.1:{port}/team"), told.append)
    message = str(caught.value)
    assert message.startswith("hpo.storage postgresql://me:***@127.0.0.1:")
    assert "Connection refused" in message
    assert len(told) == 2
    assert "secret" not in message + "".join(told)


def test_an_address_of_no_database_is_refused_at_once(make_plan: MakePlan) -> None:
    told: list[str] = []
    with pytest.raises(StudyError, match=r"hpo.storage nosuch:///x: opening it failed: .*nosuch"):
        SharedStudy(make_plan("nosuch:///x"), told.append)
    assert told == []


@pytest.mark.slow
def test_a_driver_that_is_missing_is_named_with_its_extra(
    make_plan: MakePlan, postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        MissingExtraError, match=re.escape(f"psycopg is not installed; run `{install_command('postgres')}`")
    ):
        SharedStudy(make_plan(postgres_uri))
