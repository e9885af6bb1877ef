"""Stores of the old shape through the layout ``code``: objective, folds, values one level down, init."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from bakeoff.core.records import BackboneSelection
from bakeoff.errors import CheckpointError
from bakeoff.orchestrator import Project, select_champions
from bakeoff.orchestrator.champions import read_sweep
from bakeoff.orchestrator.checkpoints import find_checkpoint
from bakeoff.orchestrator.setup.discover import propose
from bakeoff.stores.layouts import load_layout
from command_line import bakeoff, read_document
from old_store import ARCHIVE, METRIC, OldSweep, write_old_benchmark, write_old_sweep

from .conftest import Store

SCORES = (0.70, 0.90, 0.80)


def open_old(store: Store, sweep: OldSweep, metric: str = METRIC, **selection: object) -> Project:
    return store.project(
        "code",
        {sweep.backbone: {}},
        tracking={"sweep_experiment": sweep.experiment},
        hpo={"objective": {"metric": metric}},
        selection=selection,
    )


def select(store: Store, sweep: OldSweep, **more: object) -> BackboneSelection:
    return select_champions(open_old(store, sweep, **more))[sweep.backbone]  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["tag", "store"])
@pytest.mark.parametrize("stage", ["hpo", "hpo_trial"])
@pytest.mark.parametrize("folds", [0, 3])
def test_the_champion_of_an_old_sweep_is_the_refit_of_its_best_trial(
    store: Store, folds: int, stage: str, source: str
) -> None:
    sweep = write_old_sweep(store.client, store.folder, SCORES, folds=folds, refit_of=1, trial_stage=stage)
    selection = select(store, sweep, artifact_check_source=source)
    champion = selection.champion
    assert champion is not None, selection.reason
    assert (champion.run_id, champion.trial_run_id) == (sweep.refit, sweep.trials[1])
    assert (champion.metric, champion.stable_score, champion.sweep_run_id) == (0.9, 0.8, sweep.parent)
    assert (champion.metric_name, champion.refit_metric) == (METRIC, None)
    assert champion.checkpoint_artifact == ARCHIVE
    assert champion.fold_metrics == ((pytest.approx(0.89), 0.9, pytest.approx(0.91)) if folds else ())
    assert champion.evaluation == ("cross-validation" if folds else "single split")
    assert champion.is_refitted
    assert [(group.n_trials, group.n_duplicates) for group in selection.all_groups] == [(3, 0)]


def test_folds_beside_their_trial_are_joined_by_its_number(store: Store) -> None:
    """A trial without metrics of its own for the folds gets those of the fold runs."""
    parent = store.run({"code.stage": "hpo"}, params={"backbone": "distilbert", "objective_metric": METRIC})
    for number, score in enumerate(SCORES):
        tags = {"code.stage": "hpo_trial", "trial_number": str(number)}
        store.run(tags, parent=parent, metrics={METRIC: score}, params={"lr": str(number)})
    for number, fold in ((n, f) for f in (1, 0) for n in range(3)):
        tags = {"trial_number": str(number), "fold_idx": str(fold)}
        store.run(tags, parent=parent, metrics={METRIC: number + fold / 10})
    sweep = read_sweep(store.project("code", {"distilbert": {}}), load_layout("code", Path()))
    assert [trial.fold_metrics for trial in sweep.trials] == [(0.0, 0.1), (1.0, 1.1), (2.0, 2.1)]


def test_a_refit_that_names_the_run_in_its_trial_belongs_to_the_trial(store: Store) -> None:
    sweep = write_old_sweep(store.client, store.folder, SCORES, folds=0)
    tags = {"code.refit.of_trial_run_id": sweep.values[1], "code.artifact.available": "true"}
    created = store.client.create_run(
        sweep.experiment_id, tags={"code.stage": "hpo_refit", "mlflow.parentRunId": sweep.parent, **tags}
    )
    store.client.set_terminated(created.info.run_id)
    champion = select(store, sweep).champion
    assert champion is not None
    assert (champion.run_id, champion.trial_run_id) == (created.info.run_id, sweep.trials[1])


def test_another_objective_than_the_parents_is_refused_by_name(store: Store) -> None:
    sweep = write_old_sweep(store.client, store.folder, SCORES, refit_of=1)
    reason = select(store, sweep, metric="eval_loss").reason or ""
    assert "its objective is 'macro-f1', but hpo.objective.metric is 'eval_loss'" in reason


@pytest.mark.parametrize("folds", [0, 3])
def test_init_names_the_objective_of_an_old_store(store: Store, folds: int) -> None:
    for backbone in ("distilbert", "roberta"):
        sweep = write_old_sweep(
            store.client, store.folder, SCORES, backbone=backbone, folds=folds, refit_of=1
        )
        write_old_benchmark(store.client, store.folder, sweep)
    done = bakeoff(store.folder, "init", without=("MLFLOW_TRACKING_URI",))
    assert done.returncode == 0, done.stderr
    assert "objective: maximize macro-f1 (as recorded)" in done.stdout
    hpo = yaml.safe_load((store.folder / "config" / "hpo.yaml").read_text())
    assert hpo["objective"] == {"metric": "macro-f1", "direction": "maximize"}
    assert hpo["backbones"] == {"distilbert": {}, "roberta": {}}
    tracking = yaml.safe_load((store.folder / "config" / "tracking.yaml").read_text())
    assert tracking["layout"] == "code"
    assert tracking["sweep_experiment"] == ["resume_ner-hpo-distilbert", "resume_ner-hpo-roberta"]
    champions = bakeoff(store.folder, "champions", "--json")
    assert champions.returncode == 0, champions.stderr
    assert all(row["champion"] for row in read_document(champions.stdout)["result"].values())


def test_init_proposes_no_metric_of_a_fold_and_the_one_that_parents_name(store: Store) -> None:
    parent = store.run({"code.stage": "hpo"}, params={"backbone": "distilbert", "scored_by": "weighted-f1"})
    for score in SCORES:
        metrics = dict.fromkeys(("fold_0_f1", "f1_fold_1", "macro-f1", "weighted-f1"), score)
        store.run({"code.stage": "hpo_trial"}, parent=parent, metrics=metrics)
    found = propose(store.project("code", {"b": {}}).tracker).objective
    assert found is not None
    assert (found.metric, found.others) == ("weighted-f1", ("macro-f1",))


def test_an_artifact_location_that_does_not_exist_is_named_with_its_path(store: Store) -> None:
    sweep = write_old_sweep(store.client, store.folder, SCORES, refit_of=1)
    location = store.folder / "artifacts" / sweep.experiment
    shutil.rmtree(store.folder / "artifacts")
    reason = select(store, sweep, artifact_check_source="store").reason
    expected = f"its artifact location {location} does not exist"
    assert reason == f"refit {sweep.refit} of the best trial {sweep.trials[1]}: {expected}"
    project = open_old(store, sweep)
    champion = select_champions(project)[sweep.backbone].champion
    assert champion is not None
    with pytest.raises(CheckpointError, match=r"artifact location .* does not exist") as caught:
        find_checkpoint(champion, project)
    assert str(location) in str(caught.value)
    done = bakeoff(store.folder, "init", without=("MLFLOW_TRACKING_URI",))
    assert f"no checkpoint, since the artifact location {location} does not exist" in done.stdout
