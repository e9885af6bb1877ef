"""Sweeps that the real libraries wrote, each in a process of its own, and read through their layouts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bakeoff.errors import ConfigError
from bakeoff.orchestrator import Project, select_champions
from bakeoff.orchestrator.champions import read_sweep
from bakeoff.orchestrator.setup.discover import Proposal, propose
from bakeoff.stores.layouts import load_layout

from .conftest import Store

WRITERS = Path(__file__).parent / "writers"


def write(script: str, *arguments: str, home: Path) -> None:
    environment = {
        **os.environ,
        "HOME": str(home),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OPTUNA_INTEGRATION_DISABLE_WARNINGS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(WRITERS / script), *arguments],
        check=False,
        cwd=home,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def look(project: Project) -> Proposal:
    return propose(project.tracker)


def test_an_optuna_study_gives_its_best_complete_trial_though_pruned_ones_look_better(store: Store) -> None:
    write("optuna_sweep.py", store.uri, "distilbert", home=store.folder)
    project = store.project(
        "optuna",
        {"distilbert": {}},
        tracking={"sweep_experiment": "distilbert"},
        hpo={"objective": {"metric": "f1"}},
    )
    selection = select_champions(project)["distilbert"]
    champion = selection.champion
    assert champion is not None, selection.reason
    assert (champion.metric, champion.schema_version) == (0.56, "1.0")
    assert champion.run_id == champion.trial_run_id == champion.refit_run_id
    assert champion.checkpoint_artifact == "checkpoint"
    (group,) = selection.all_groups
    assert (group.n_trials, group.n_valid, group.key_is_derived) == (4, 4, True)
    (trial, *_) = read_sweep(project, load_layout("optuna", store.folder)).trials
    assert list(trial.params) == ["learning_rate"]
    proposal = look(project)
    assert proposal.layout == "optuna"
    assert proposal.objective is not None
    assert (proposal.objective.metric, proposal.objective.direction) == ("f1", "maximize")
    assert [(found.name, found.n_trials) for found in proposal.backbones] == [("distilbert", 4)]


def test_an_optuna_study_of_the_other_direction_is_an_error(store: Store) -> None:
    write("optuna_sweep.py", store.uri, "distilbert", home=store.folder)
    project = store.project(
        "optuna",
        {"distilbert": {}},
        tracking={"sweep_experiment": "distilbert"},
        hpo={"objective": {"metric": "f1", "direction": "minimize"}},
    )
    with pytest.raises(ConfigError, match=r"has objective\.direction 'maximize'"):
        select_champions(project)


@pytest.mark.slow
def test_trainings_with_the_hugging_face_trainer_are_trials_and_their_own_refits(store: Store) -> None:
    write("huggingface_sweep.py", store.uri, str(store.folder), home=store.folder)
    project = store.project("huggingface", {"tiny-bert": {}}, hpo={"objective": {"metric": "eval_f1"}})
    selection = select_champions(project)["tiny-bert"]
    champion = selection.champion
    assert champion is not None, selection.reason
    assert champion.metric == pytest.approx(0.7)
    assert champion.checkpoint_artifact == "checkpoint-2/artifacts/checkpoint-2"
    fetched = project.tracker.download(champion.run_id, champion.checkpoint_artifact, store.folder)
    assert {"config.json", "model.safetensors"} <= {path.name for path in fetched.iterdir()}
    proposal = look(project)
    assert proposal.layout == "huggingface"
    assert proposal.objective is not None
    assert (proposal.objective.metric, proposal.objective.is_recorded) == ("eval_f1", False)
    # Of a search with the Trainer's own method only the first trial logs its params.
    assert [(found.name, found.n_trials) for found in proposal.backbones] == [("tiny-bert", 4)]
    assert proposal.n_nameless == 1


@pytest.mark.slow
def test_the_best_epoch_of_a_real_training_ships_with_its_metric(store: Store) -> None:
    write("huggingface_best.py", store.uri, str(store.folder), home=store.folder)
    project = store.project(
        "huggingface",
        {"tiny-bert": {}},
        hpo={"objective": {"metric": "eval_f1"}},
        selection={"min_trials_per_group": 1},
    )
    selection = select_champions(project)["tiny-bert"]
    champion = selection.champion
    assert champion is not None, selection.reason
    assert champion.checkpoint_artifact == "checkpoint-1/artifacts/checkpoint-1"
    assert champion.metric == pytest.approx(0.9)
    assert not champion.flags


@pytest.mark.slow
def test_a_ray_search_over_backbones_gives_a_champion_to_the_one_whose_checkpoint_was_logged(
    store: Store,
) -> None:
    write("ray_sweep.py", store.uri, str(store.folder / "ray"), home=store.folder)
    project = store.project("ray", {"bert": {}, "bert-small": {}}, hpo={"objective": {"metric": "f1"}})
    selections = select_champions(project)
    champion = selections["bert"].champion
    assert champion is not None, selections["bert"].reason
    assert champion.metric == pytest.approx(0.6)
    assert champion.checkpoint_artifact == "checkpoint"
    assert selections["bert"].all_groups[0].n_trials == 3
    assert selections["bert-small"].champion is None
    assert "holds no checkpoint" in (selections["bert-small"].reason or "")
    proposal = look(project)
    assert proposal.layout == "ray"
    assert proposal.objective is not None
    assert proposal.objective.metric == "f1"
    assert [(found.name, found.checkpoint) for found in proposal.backbones] == [
        ("bert", "checkpoint"),
        ("bert-small", None),
    ]
