"""Sweeps by several processes: the store and the study tell one story, whoever was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bakeoff.errors import NoSweepError, StudyError
from bakeoff.orchestrator import Project, join_sweep, open_project, select_champions, sweep
from bakeoff.stores import tags
from bakeoff.stores.tracking import Tracker
from command_line import read_document
from copies import STORE, copy_project
from integration.word_trainers import VARIABLES
from services import PostgresServer, closed_port

HERE = Path(__file__).parent
PATIENT = {"heartbeat_interval_s": 5, "heartbeat_grace_s": 120, "wait_s": 200}  # nobody is killed
LEADER, WORKER = (), ("--worker",)
LED = "leads this sweep; waiting until it ends"
TIMEOUT_S = 400
Start = Callable[..., "Sweeper"]
MakeTeam = Callable[..., Path]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that every trained epoch adds a line to."""
    path = tmp_path / "epochs.log"
    path.touch()
    monkeypatch.setenv("WORD_TRAINER_LOG", str(path))
    monkeypatch.syspath_prepend(HERE)
    return path


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file without which no training gets beyond its first epoch."""
    path = tmp_path / "release"
    monkeypatch.setenv("WORD_TRAINER_RELEASE", str(path))
    return path


@pytest.fixture
def make_team(tmp_path: Path, make_project: Callable[..., Path], log: Path) -> MakeTeam:
    """Write a project whose trainings take milliseconds, unless they wait; returns its configuration."""
    return team_maker(tmp_path, make_project)


def team_maker(place: Path, make_project: Callable[..., Path]) -> MakeTeam:
    pretrained = place / "pretrained"
    pretrained.mkdir()
    (pretrained / "config.json").write_text("{}")
    (pretrained / "tokenizer.json").write_text("{}")

    def make(folder: str = "project", tracking: str | None = None, **hpo: Any) -> Path:
        settings = {
            "trainer": "word_trainers:WordTrainer",
            "n_trials": 6,
            "search_space": {"learning_rate": {"kind": "float", "low": 0.0001, "high": 1.0, "log": True}},
            "training": {"epochs": 3},
            "workers": {"heartbeat_interval_s": 1, "heartbeat_grace_s": 10, "wait_s": 200},
            "environment": VARIABLES,
        }
        changes: dict[str, Any] = {"hpo": settings | hpo}
        if tracking:
            changes["tracking"] = {"uri": tracking}
        return make_project(place / folder, {"words": pretrained}, changes)

    return make


@pytest.fixture(scope="module")
def led(make_project: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a sweep of one trial that looks as while its leader is at it."""
    config = team_maker(tmp_path_factory.mktemp("led"), make_project)(n_trials=1)
    project = open_project(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        assert [result.failure for result in sweep(project)] == [None]
    (sweep_run,) = runs(project, "hpo_sweep")
    project.tracker.reopen_run(sweep_run.info.run_id)
    return project.root


@pytest.fixture
def led_config(led: Path, tmp_path: Path) -> Path:
    """The configuration of a copy of it."""
    return copy_project(led, tmp_path / "led") / "config"


class Sweeper(subprocess.Popen[bytes]):
    """``bakeoff sweep`` in a process of its own, which says to a file what it says to people."""

    def __init__(self, config: Path, options: Sequence[str], said: Path) -> None:
        self._said = said
        path = f"{os.environ.get('PYTHONPATH', '')}:{HERE}"
        with said.open("wb") as stderr:
            super().__init__(
                [sys.executable, "-m", "bakeoff", "sweep", "-c", str(config), *options],
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=os.environ | {"PYTHONPATH": path},
            )

    @property
    def said(self) -> str:
        """What it said so far."""
        return self._said.read_text(errors="replace")


@pytest.fixture
def start(log: Path) -> Iterator[Start]:
    """Start ``bakeoff sweep`` in a process of its own, which ends with the test."""
    processes: list[Sweeper] = []

    def run(config: Path, *options: str) -> Sweeper:
        processes.append(Sweeper(config, options, log.with_name(f"said-{len(processes)}")))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()


def make_stores(server: PostgresServer) -> tuple[str, str]:
    """A database that is an MLflow store already, and an empty one for Optuna."""
    tracking = server.make_database()
    Tracker(tracking).find_experiment("sweep")
    return tracking, server.make_database()


def finish(*processes: Sweeper) -> list[str]:
    """What each process said; all must have ended well."""
    codes = [process.wait(TIMEOUT_S) for process in processes]
    said = [process.said for process in processes]
    assert codes == [0] * len(processes), said
    return said


def wait_until(is_so: Callable[[], bool], *processes: Sweeper) -> None:
    """Until something is so, for which all processes must live."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert [process.poll() for process in processes] == [None] * len(processes), [
            process.said for process in processes
        ]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_epoch_of(process: Sweeper, log: Path) -> None:
    """Until a process is in the midst of a trial."""
    wait_until(
        lambda: any(line.startswith(f"{process.pid} ") for line in log.read_text().splitlines()), process
    )


def runs(project: Project, stage: str) -> list[Any]:
    experiment_id = project.tracker.find_experiment("sweep")
    assert experiment_id is not None
    return list(project.tracker.search_runs(experiment_id, {tags.STAGE: stage}))


def load_study(project: Project) -> Any:
    import optuna

    (sweep_run,) = runs(project, "hpo_sweep")
    name = f"words-{sweep_run.info.run_id}"
    return optuna.load_study(storage=project.resolve_uri(project.settings.hpo.storage), study_name=name)


def check_agreement(project: Project) -> Counter[str]:
    """Every trial of Optuna that was begun has one run, with its number, state and parameters; states."""
    by_number = {int(run.data.tags[tags.TRIAL_NUMBER]): run for run in runs(project, "hpo_trial")}
    assert len(by_number) == len(runs(project, "hpo_trial"))
    trials = load_study(project).get_trials()
    assert set(by_number) == {trial.number for trial in trials}
    for trial in trials:
        run = by_number[trial.number]
        assert run.data.tags[tags.TRIAL_STATE] == trial.state.name
        assert (run.info.status == "FINISHED") == (trial.state.name == "COMPLETE")
        assert run.data.params == {name: str(value) for name, value in trial.params.items()}
        retried = trial.user_attrs.get("retry_of")
        assert run.data.tags.get(tags.RETRY_OF) == (None if retried is None else str(retried))
        if retried is not None:
            assert trial.params == trials[retried].params
    return Counter(trial.state.name for trial in trials)


@pytest.mark.slow
def test_four_processes_finish_exactly_the_trials_that_a_study_shall_have(
    make_team: MakeTeam,
    start: Start,
    log: Path,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORD_TRAINER_TEAM", "4")
    stores = make_stores(postgres_server)
    config = make_team(
        tracking=stores[0], storage=stores[1], n_trials=14, training={"epochs": 2}, workers=PATIENT
    )
    early = start(config, *WORKER)
    finish(start(config, *LEADER), start(config, *WORKER), start(config, *WORKER), early)
    project = open_project(config)
    assert check_agreement(project) == {"COMPLETE": 14}
    assert [run.info.status for run in runs(project, "hpo_sweep")] == ["FINISHED"]
    assert [run.info.status for run in runs(project, "hpo_refit")] == ["FINISHED"]
    asked_by = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert len(asked_by) == 4
    assert sum(asked_by.values()) == 14 * 2 * 2 + 2
    champion = select_champions(project)["words"].champion
    assert champion is not None
    assert champion.metric == max(run.data.metrics["f1"] for run in runs(project, "hpo_trial"))


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_leader_lose_no_trial_and_repeat_none(
    make_team: MakeTeam, start: Start, log: Path, release: Path, postgres_server: PostgresServer
) -> None:
    stores = make_stores(postgres_server)
    config = make_team(tracking=stores[0], storage=stores[1], n_trials=8)
    leader, killed, worker = start(config), start(config, *WORKER), start(config, *WORKER)
    for process in (killed, leader):
        wait_for_epoch_of(process, log)
        process.send_signal(signal.SIGKILL)
        process.wait()
    heir = start(config, *LEADER)
    wait_for_epoch_of(heir, log)
    release.touch()
    finish(heir, worker)
    project = open_project(config)
    states = check_agreement(project)
    assert states["COMPLETE"] == 8
    assert set(states) == {"COMPLETE", "FAIL"}
    failed = [run for run in runs(project, "hpo_trial") if run.data.tags[tags.TRIAL_STATE] == "FAIL"]
    assert {run.info.status for run in failed} == {"KILLED"}
    assert [run.info.status for run in runs(project, "hpo_sweep")] == ["FINISHED"]
    assert [run.info.status for run in runs(project, "hpo_refit")] == ["FINISHED"]
    assert [result.action for result in sweep(project)] == ["reused"]
    assert [(result.action, result.n_trials) for result in join_sweep(project)] == [("left", 8)]


def make_pair(make_team: MakeTeam, server: PostgresServer, **hpo: Any) -> tuple[Path, Path]:
    """The same project in two folders, as on two machines, with their stores on one server."""
    tracking, storage = make_stores(server)
    mine, theirs = (
        make_team(folder, tracking=tracking, storage=storage, **hpo) for folder in ("mine", "theirs")
    )
    return mine, theirs


@pytest.mark.slow
def test_of_two_leaders_on_two_machines_one_leads_and_the_other_finds_the_work_done(
    make_team: MakeTeam, start: Start, log: Path, release: Path, postgres_server: PostgresServer
) -> None:
    training = {"epochs": 2}
    mine, theirs = make_pair(make_team, postgres_server, n_trials=4, training=training, workers=PATIENT)
    pair = [start(mine, *LEADER), start(theirs, *LEADER)]
    wait_until(lambda: any(LED in process.said for process in pair), *pair)
    release.touch()
    said = finish(*pair)
    project = open_project(mine)
    assert check_agreement(project) == {"COMPLETE": 4}
    assert [run.info.status for run in runs(project, "hpo_sweep")] == ["FINISHED"]
    assert [run.info.status for run in runs(project, "hpo_refit")] == ["FINISHED"]
    assert sum(LED in text for text in said) == 1
    assert len(log.read_text().splitlines()) == 4 * 2 * 2 + 2


@pytest.mark.slow
def test_a_leader_that_died_on_another_machine_is_followed_when_it_is_silent_for_long_enough(
    make_team: MakeTeam, start: Start, log: Path, release: Path, postgres_server: PostgresServer
) -> None:
    mine, theirs = make_pair(make_team, postgres_server, n_trials=3, training={"epochs": 2})
    dead = start(mine, "--set", "tracking.claim_expiry_s=10")
    wait_for_epoch_of(dead, log)
    heir = start(theirs, "--set", "tracking.claim_expiry_s=10")
    wait_until(lambda: f"{LED} or is silent for 10 s" in heir.said, dead, heir)
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    release.touch()
    finish(heir)
    project = open_project(theirs)
    assert check_agreement(project)["COMPLETE"] == 3
    assert [run.info.status for run in runs(project, "hpo_sweep")] == ["FINISHED"]
    assert [run.info.status for run in runs(project, "hpo_refit")] == ["FINISHED"]


@pytest.mark.slow
def test_three_processes_share_a_sweep_on_sqlite_files(
    make_team: MakeTeam, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD_TRAINER_TEAM", "3")
    config = make_team(training={"epochs": 2}, workers=PATIENT)
    (config.parent / STORE).unlink()  # they make it together, too
    finish(start(config, *LEADER), start(config, *WORKER), start(config, *WORKER))
    assert check_agreement(open_project(config)) == {"COMPLETE": 6}


@pytest.mark.slow
def test_a_sweep_on_a_server_prints_its_result_and_nothing_else(
    make_team: MakeTeam, mlflow_uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from bakeoff.cli.main import cli

    cli.main(
        ["sweep", "--json", "-c", str(make_team(tracking=mlflow_uri, n_trials=1))], standalone_mode=False
    )
    assert read_document(capfd.readouterr().out)["result"][0]["n_trials"] == 1


def test_a_storage_that_does_not_answer_opens_no_sweep(
    make_team: MakeTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bakeoff.run.training.study_storage.RETRY_WAITS_S", (0.1,))
    with closed_port() as port:
        project = open_project(make_team(storage=f"postgresql://me:secret@127.0.0.1:{port}/team"))
        with pytest.raises(StudyError, match=r"me:\*\*\*@.*Connection refused"):
            sweep(project)
    assert runs(project, "hpo_sweep") == []


def test_a_worker_whom_no_sweep_comes_to_gives_up_and_opens_none(make_team: MakeTeam) -> None:
    project = open_project(make_team(), ["hpo.workers.wait_s=0"])
    with pytest.raises(NoSweepError, match=r"words: no sweep to join after 0 s: .*start `bakeoff sweep`"):
        join_sweep(project)
    assert project.tracker.find_experiment("sweep") is None


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("hpo.seed=5", "the data, its split or the seed differ"),
        ("data.max_length=64", "the metric or data.max_length differ"),
        ("hpo.training.epochs=9", "trainer, search space, training or refit settings differ"),
    ],
)
def test_a_worker_of_another_configuration_is_told_what_differs(
    led_config: Path, override: str, difference: str
) -> None:
    with pytest.raises(NoSweepError, match=rf"running with another configuration \({difference}\)"):
        join_sweep(open_project(led_config, [override, "hpo.workers.wait_s=0"]))


def test_a_worker_with_another_storage_is_told_that_the_study_is_not_there(led_config: Path) -> None:
    other = open_project(led_config, ["hpo.storage=sqlite:///other.db", "hpo.workers.wait_s=0"])
    with pytest.raises(NoSweepError, match=r"is running, but its study is not in hpo\.storage"):
        join_sweep(other)
