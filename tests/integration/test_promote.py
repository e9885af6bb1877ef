"""Promotion: one version, one alias that moves, whatever dies or moves in between."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bakeoff.disk.sealed import open_sealed, seal_json
from bakeoff.errors import (
    AliasMovedError,
    BakeoffError,
    CheckpointError,
    ConfigError,
    NothingToUndoError,
    NoWinnerError,
    PromotionRefusedError,
    StaleDecisionError,
    UserError,
)
from bakeoff.orchestrator import (
    Project,
    bench,
    decide,
    load_decision,
    open_project,
    promote,
    save_decision,
    sweep,
    undo_promotion,
)
from bakeoff.orchestrator.promote.promote import parse_expected
from bakeoff.stores import tags
from bakeoff.stores.tracking import Tracker, create_client
from bakeoff.stores.tracking.aliases import Aliases, read_aliases
from command_line import bakeoff, read_document
from replies import LosesFirstReply

Reopen = Callable[..., Project]
Act = Callable[[Project], object]
MODEL = "bakeoff-model"


class Killed(BaseException):
    """The process dies here; no handler of ours may stop it."""


@contextmanager
def dying_at(n: int, moment: str) -> Iterator[list[str]]:
    """Die before or after the n-th request from now; yields the names of the requests that were made."""
    made: list[str] = []
    call = Tracker.call

    def dying(self: Tracker, action: str, function: Callable[[Any], object]) -> object:
        made.append(action)
        if len(made) == n and moment == "before":
            raise Killed
        answer = call(self, action, function)
        if len(made) == n:
            raise Killed
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracker, "call", dying)
        yield made


def die_everywhere(act: Act, prepare: Callable[[], tuple[Project, Callable[[], None]]]) -> list[str]:
    """Let an act die before its first and after each of its requests, and repeat it; returns the requests.

    Args:
        act: What dies.
        prepare: Makes a state; gives a project and what must be true after the repetition.
    """
    for n, moment in itertools.chain([(1, "before")], zip(itertools.count(1), itertools.repeat("after"))):
        project, check = prepare()
        with dying_at(n, moment) as made:
            try:
                act(project)
            except Killed:
                pass
            else:
                return made
        act(project)
        check()
    raise AssertionError("it ends where nothing dies any more")


@pytest.fixture
def make_model(reopen: Reopen) -> Callable[[], tuple[Project, str]]:
    """Registered models of new names in one store, each with a version of somebody's that is @champion."""
    numbers = itertools.count()

    def make() -> tuple[Project, str]:
        name = f"model-{next(numbers)}"
        project = reopen(f"tracking.registered_model={name}")
        client = create_client(project.tracker.uri)
        client.create_registered_model(name)
        client.create_model_version(name, source=str(project.root), tags={"made": "by hand"})
        client.set_registered_model_alias(name, "champion", "1")
        return project, name

    return make


def aliases_of(project: Project, model: str = MODEL) -> tuple[str | None, str | None]:
    found = read_aliases(project.tracker, model)
    return found.champion, found.previous


def versions_of(project: Project, model: str = MODEL) -> list[Any]:
    return list(create_client(project.tracker.uri).search_model_versions(f"name = '{model}'"))


def move_by_hand(project: Project, version: str, alias: str = "champion") -> None:
    create_client(project.tracker.uri).set_registered_model_alias(MODEL, alias, version)


def add_version(project: Project) -> str:
    client = create_client(project.tracker.uri)
    return str(client.create_model_version(MODEL, source=str(project.root)).version)


def content_of(project: Project) -> list[str]:
    """Everything that the tracking store holds."""
    with closing(sqlite3.connect(project.root / "mlflow.db")) as database:
        return list(database.iterdump())


def test_the_version_names_its_evidence_and_the_run_that_holds_the_model(reopen: Reopen) -> None:
    project = reopen()
    done = promote(project)
    winner = load_decision(project).winning_standing
    assert winner is not None
    client = create_client(project.tracker.uri)
    version = client.get_model_version_by_alias(MODEL, "champion")
    assert str(version.version) == done.version == "1"
    assert version.tags[tags.CHECKPOINT_DIGEST] == winner.checkpoint_digest
    assert version.tags[tags.BENCHMARK_KEYS].splitlines() == list(winner.benchmark_keys)
    assert version.tags[tags.RUNTIME] == winner.runtime
    assert version.tags[tags.LINEAGE_REFIT] == winner.champion_run_id
    assert len(version.tags[tags.DECISION_DIGEST]) == len(version.tags[tags.CANDIDATE_DIGEST]) == 64
    assert version.tags[tags.HISTORY].partition(" ")[2].startswith("@champion after none, decision ")
    assert tags.FORCED not in version.tags
    run = client.get_run(str(version.run_id))
    assert (run.info.status, run.data.tags[tags.STAGE]) == ("FINISHED", "promotion")
    assert "model/MLmodel" in project.tracker.list_artifacts(str(version.run_id), "model")


def test_a_new_winner_becomes_champion_and_the_old_one_previous(reopen: Reopen) -> None:
    for number, kind in enumerate(("torch", "onnxruntime"), 1):
        project = reopen(f"benchmark.runtimes=[{{kind: {kind}}}]")
        save_decision(project, decide(project))
        done = promote(project)
        assert (done.version, done.is_new) == (str(number), True)
    assert aliases_of(project) == ("2", "1")
    again = reopen("benchmark.runtimes=[{kind: torch}]")
    save_decision(again, decide(again))
    back = promote(again)
    assert (back.version, back.previous, back.is_new) == ("1", "2", False)
    assert aliases_of(again) == ("1", "2")
    assert len(versions_of(again)) == 2


@pytest.mark.slow
def test_a_promotion_that_dies_at_any_request_ends_with_one_version_and_the_right_aliases(
    make_model: Callable[[], tuple[Project, str]],
) -> None:
    def prepare() -> tuple[Project, Callable[[], None]]:
        project, model = make_model()

        def check() -> None:
            assert aliases_of(project, model) == ("2", "1")
            assert [row.tags.get("made") for row in versions_of(project, model)].count(None) == 1
            winner = create_client(project.tracker.uri).get_model_version(model, "2")
            assert winner.tags[tags.HISTORY].count("\n") == 0
            run = create_client(project.tracker.uri).get_run(str(winner.run_id))
            assert run.info.status == "FINISHED"
            assert "model/MLmodel" in project.tracker.list_artifacts(str(winner.run_id), "model")

        return project, check

    made = die_everywhere(lambda project: promote(project, expect="v1"), prepare)
    assert {
        "creating a run",
        "uploading",
        "making a model version",
        "moving @previous",
        "moving @champion",
    } <= {*made}


@pytest.mark.slow
def test_an_undo_that_dies_at_any_request_is_finished_and_not_done_twice(
    make_model: Callable[[], tuple[Project, str]],
) -> None:
    def prepare() -> tuple[Project, Callable[[], None]]:
        project, model = make_model()
        promote(project)

        def check() -> None:
            assert aliases_of(project, model) == ("1", "2")
            assert tags.UNDO not in create_client(project.tracker.uri).get_registered_model(model).tags

        return project, check

    def act(project: Project) -> None:
        try:
            undo_promotion(project, expect="v2")
        except AliasMovedError:  # the first call died when all was done
            assert aliases_of(project, project.settings.tracking.registered_model) == ("1", "2")

    made = die_everywhere(act, prepare)
    assert {"noting the undo", "moving @champion", "moving @previous", "closing the undo"} <= {*made}


DYING = """
import os, signal, sys
from pathlib import Path
from bakeoff.orchestrator import open_project, promote
from bakeoff.stores.tracking import Tracker

call = Tracker.call

def dying(self, action, function):
    answer = call(self, action, function)
    if action == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

Tracker.call = dying
promote(open_project(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_promotion_that_is_killed_again_and_again_ends_with_one_version(project_folder: Path) -> None:
    config = project_folder / "config"
    for action in ("creating a run", "uploading", "making a model version", "moving @champion"):
        done = subprocess.run(
            [sys.executable, "-c", DYING, str(config), action], check=False, capture_output=True, text=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert bakeoff(project_folder, "promote").returncode == 0
    project = open_project(config)
    assert aliases_of(project) == ("1", None)
    assert len(versions_of(project)) == 1
    experiment_id = project.tracker.find_experiment("benchmark")
    assert experiment_id is not None
    assert len(list(project.tracker.search_runs(experiment_id, {tags.STAGE: "promotion"}))) == 1


def test_a_version_whose_reply_was_lost_is_made_once(reopen: Reopen) -> None:
    project = reopen()
    client = create_client(project.tracker.uri)
    create = LosesFirstReply(client.create_model_version)
    client.create_model_version = create  # type: ignore[method-assign]
    project.tracker._client = client
    assert promote(project).version == "1"
    assert len(create.lost) == len(versions_of(project)) == 1


@pytest.mark.parametrize("is_killed", [False, True])
def test_of_two_versions_of_one_winner_the_first_stays(reopen: Reopen, is_killed: bool) -> None:
    project = reopen()
    client = create_client(project.tracker.uri)
    create = client.create_model_version

    def another_machine_does_too(*args: Any, **kwargs: Any) -> Any:
        create(*args, **kwargs)
        made = create(*args, **kwargs)
        if is_killed:
            raise Killed
        return made

    client.create_model_version = another_machine_does_too  # type: ignore[method-assign]
    project.tracker._client = client
    if is_killed:
        with pytest.raises(Killed):
            promote(project)
        assert len(versions_of(project)) == 2
    assert promote(project).version == "1"
    assert [str(row.version) for row in versions_of(project)] == ["1"]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(reopen: Reopen) -> None:
    project = reopen()
    before = content_of(project)
    planned = promote(project, is_dry_run=True)
    assert content_of(project) == before
    assert (planned.version, planned.is_new, planned.is_dry_run) == (None, True, True)
    assert planned.steps[-1] == "move @champion from no version to the new version"
    done = promote(project)
    assert done.steps == planned.steps
    before = content_of(project)
    assert promote(project, is_dry_run=True).steps == (
        f"nothing: version 1 of {MODEL} is the winner and already @champion",
    )
    move_by_hand(project, add_version(project))
    move_by_hand(project, "1", "previous")
    before = content_of(project)
    assert promote(project, is_dry_run=True).steps == (
        "move @previous from version 1 to version 2",
        "move @champion from version 2 to version 1",
    )
    assert undo_promotion(project, is_dry_run=True).steps == (
        "move @champion from version 2 to version 1",
        "move @previous from version 1 to version 2",
    )
    assert content_of(project) == before


def test_promotion_is_refused_where_the_alias_is_not_what_was_expected(reopen: Reopen) -> None:
    project = reopen()
    with pytest.raises(AliasMovedError, match="found no version at @champion; expected version 3") as caught:
        promote(project, expect="v3")
    assert caught.value.exit_code == 6
    assert versions_of(project) == []
    assert promote(project, expect="none").version == "1"
    assert promote(project, expect="none").version == "1", "it is champion already"
    move_by_hand(project, add_version(project))
    with pytest.raises(AliasMovedError, match="found version 2"):
        promote(project, expect="1", is_dry_run=True)
    assert promote(project, expect="V2").version == "1"


def test_an_alias_that_moves_while_we_promote_is_left_where_it_is(
    reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = reopen()
    promote(project)
    first, second = add_version(project), add_version(project)
    move_by_hand(project, first)
    call = Tracker.call

    def another_moves_it(self: Tracker, action: str, function: Callable[[Any], object]) -> object:
        answer = call(self, action, function)
        if action == "moving @previous":
            move_by_hand(project, second)
        return answer

    monkeypatch.setattr(Tracker, "call", another_moves_it)
    with pytest.raises(AliasMovedError, match="found version 3 at @champion; expected version 2"):
        promote(project)
    assert read_aliases(project.tracker, MODEL) == Aliases(champion="3", previous="2")


@pytest.mark.parametrize("text", ["", "v", "v0", "latest", "-1", "1.5", "v1 "])
def test_an_expectation_that_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected v3, 3 or none"):
        parse_expected(text)


def test_undo_swaps_the_aliases_and_undoing_it_swaps_them_back(reopen: Reopen) -> None:
    project = reopen()
    with pytest.raises(NothingToUndoError, match="@champion is no version, @previous no version"):
        undo_promotion(project)
    promote(project)
    with pytest.raises(NothingToUndoError, match="@champion is version 1, @previous no version") as caught:
        undo_promotion(project)
    assert caught.value.exit_code == 3
    move_by_hand(project, add_version(project))
    move_by_hand(project, "1", "previous")
    with pytest.raises(AliasMovedError, match="found version 2 at @champion; expected version 1"):
        undo_promotion(project, expect="1")
    for champion, previous in (("1", "2"), ("2", "1"), ("1", "2")):
        done = undo_promotion(project)
        assert (done.version, done.previous) == aliases_of(project) == (champion, previous)
    history = create_client(project.tracker.uri).get_model_version(MODEL, "2").tags[tags.HISTORY]
    assert [line.partition(" ")[2] for line in history.splitlines()] == [
        "undone, @champion is v1",
        "@champion after v1",
        "undone, @champion is v1",
    ]


def spoil_measurement(project: Project) -> None:
    """Have the winner's latency measured on a machine that was too busy."""
    winner = load_decision(project).winning_standing
    assert winner is not None
    for path in (project.root / "results" / "jobs").glob("*/*.json"):
        document = open_sealed(path.read_bytes())
        for flag in document["flags"]:
            if flag["name"] == "contended":
                flag["invalidates"] = True
                break
        else:
            document["flags"].append({"name": "contended", "detail": "busy", "invalidates": True})
        path.write_bytes(seal_json(document))


def change_library(project: Project) -> None:
    document = open_sealed(project.decision_path.read_bytes())
    document["environment"]["libraries"] |= {"tokenizers": "0.1"}
    project.decision_path.write_bytes(seal_json(document))


def forget_inputs(project: Project) -> None:
    document = open_sealed(project.decision_path.read_bytes()) | {"inputs_digest": ""}
    project.decision_path.write_bytes(seal_json(document))


@pytest.mark.parametrize(
    ("spoil", "overrides", "kind", "words"),
    [
        (spoil_measurement, (), PromotionRefusedError, "is not valid (contended)"),
        (change_library, (), PromotionRefusedError, "measured with 0.1"),
        (forget_inputs, (), StaleDecisionError, "does not record its inputs"),
        (
            lambda _: None,
            ("decision.objective={kind: weighted, weights: {quality: 0.9}}",),
            StaleDecisionError,
            "have changed since",
        ),
    ],
)
def test_a_winner_whose_evidence_does_not_hold_is_promoted_only_with_a_reason(
    reopen: Reopen,
    spoil: Callable[[Project], None],
    overrides: tuple[str, ...],
    kind: type[BakeoffError],
    words: str,
) -> None:
    project = reopen(*overrides)
    spoil(project)
    with pytest.raises(kind) as caught:
        promote(project)
    assert words in str(caught.value)
    assert caught.value.exit_code == (6 if kind is StaleDecisionError else 3)
    assert versions_of(project) == []
    with pytest.raises(UserError, match="the reason is empty"):
        promote(project, force=" ")
    done = promote(project, force="the launch is today")
    assert any(words in fault for fault in done.overridden)
    forced = versions_of(project)[0].tags[tags.FORCED]
    assert versions_of(project)[0].tags[tags.HISTORY].endswith(", forced: the launch is today")
    assert forced.startswith("the launch is today\npast: ")
    assert words in forced


def test_no_reason_promotes_where_there_is_no_winner(reopen: Reopen) -> None:
    project = reopen("decision.constraints=[{kind: quality, at_least: 0.99}]")
    save_decision(project, decide(project))
    with pytest.raises(NoWinnerError):
        promote(project, force="all the same")
    assert versions_of(project) == []


def test_no_reason_promotes_a_run_that_is_no_longer_a_champion(reopen: Reopen) -> None:
    project = reopen()
    winner = load_decision(project).winning_standing
    assert winner is not None
    create_client(project.tracker.uri).delete_run(winner.champion_run_id)
    with pytest.raises(StaleDecisionError, match="no longer a champion") as caught:
        promote(project, force="all the same")
    assert "--force" not in str(caught.value)
    assert versions_of(project) == []


def test_no_reason_promotes_another_checkpoint_than_was_measured(reopen: Reopen) -> None:
    project = reopen()
    winner = load_decision(project).winning_standing
    assert winner is not None
    artifacts = create_client(project.tracker.uri).get_run(winner.champion_run_id).info.artifact_uri
    stored = Path(artifacts.removeprefix("file://")) / "checkpoint"
    assert stored.is_dir()
    kept = {path: path.read_bytes() for path in stored.glob("config.json")}
    try:
        for folder in (
            stored,
            project.root / ".cache" / "checkpoints" / winner.champion_run_id / "checkpoint",
        ):
            path = folder / "config.json"
            path.write_text(path.read_text() + "\n")
        with pytest.raises(CheckpointError, match="the refit recorded"):
            promote(project, force="all the same")
    finally:
        for path, data in kept.items():  # the store's files are shared by all copies of the project
            path.write_bytes(data)
    assert versions_of(project) == []


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "models@champion", "it's", "a\nb"])
def test_a_name_that_no_model_uri_can_carry_is_refused(reopen: Reopen, name: str) -> None:
    with pytest.raises(ConfigError, match="registered_model"):
        reopen(f"tracking.registered_model={json.dumps(name)}")


def test_promote_talks_of_dry_run_refusal_and_undo_on_the_command_line(project_folder: Path) -> None:
    planned = bakeoff(project_folder, "promote", "--dry-run", "-q")
    assert planned.returncode == 0, planned.stderr
    assert "would be a new version of bakeoff-model, @champion" in planned.stdout
    assert "  would do: move @champion from no version to the new version" in planned.stdout
    moved = bakeoff(project_folder, "promote", "--expect", "v4")
    assert (moved.returncode, moved.stdout) == (6, "")
    assert "error: model 'bakeoff-model': found no version at @champion; expected version 4" in moved.stderr
    done = bakeoff(project_folder, "promote", "--json")
    result = read_document(done.stdout)["result"]
    assert (result["version"], result["previous"], result["is_new"]) == ("1", None, True)
    undo = bakeoff(project_folder, "promote", "--undo")
    assert undo.returncode == 3
    assert "nothing to undo" in undo.stderr
    both = bakeoff(project_folder, "promote", "--undo", "--force", "why")
    assert both.returncode == 2


@pytest.mark.slow
def test_over_a_server_the_winner_is_promoted_killed_undone_and_loaded(
    mlflow_uri: str, make_project: Callable[..., Path], tiny_backbone: Path, tmp_path: Path
) -> None:
    import mlflow
    import pandas as pd

    changes = {"tracking": {"uri": mlflow_uri}, "benchmark": {"runtimes": [{"kind": "onnxruntime"}]}}
    project = open_project(make_project(tmp_path / "project", {"tiny": tiny_backbone}, changes))
    assert [result.failure for result in sweep(project)] == [None]
    assert bench(project).failed == ()
    save_decision(project, decide(project))
    with dying_at(1_000, "before") as made:
        promote(project, is_dry_run=True)
    n_reading = len(made)
    for n in range(n_reading + 1, n_reading + 30, 3):
        with dying_at(n, "after"):
            try:
                promote(project)
            except Killed:
                continue
        break
    assert promote(project).version == "1"
    assert len(versions_of(project)) == 1
    mlflow.set_tracking_uri(mlflow_uri)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
    assert [set(row) for row in model.predict(pd.DataFrame({"text": ["to Paris"]}))] == [
        {"entities", "truncated"}
    ]
    move_by_hand(project, add_version_over_http(project))
    move_by_hand(project, "1", "previous")
    assert undo_promotion(project, expect="v2").version == "1"
    assert aliases_of(project) == ("1", "2")


def add_version_over_http(project: Project) -> str:
    """A server takes no plain path as a source."""
    client = create_client(project.tracker.uri)
    run_id = versions_of(project)[0].run_id
    return str(client.create_model_version(MODEL, source=f"runs:/{run_id}/model", run_id=run_id).version)
