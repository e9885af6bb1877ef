"""Sweeps of the layout ``code`` in real stores: whole, interrupted, resumed, tied and deleted ones."""

from __future__ import annotations

import os

import mlflow
import pytest

from bakeoff.core.records import BackboneSelection
from bakeoff.errors import ConfigError, NoChampionError
from bakeoff.orchestrator import select_champions
from bakeoff.stores.tracking.reading import find_checkpoint

from .conftest import ARCHIVE, Store, write_code_sweep

SCORES = (0.70, 0.80, 0.90, 0.75)


def select(store: Store, *backbones: str, **changes: object) -> dict[str, BackboneSelection]:
    names = backbones or ("distilbert",)
    return select_champions(store.project("code", {name: {} for name in names}, **changes))


@pytest.mark.parametrize("folds", [0, 3])
@pytest.mark.parametrize("source", ["tag", "store"])
def test_the_champion_is_the_refit_of_the_best_trial(store: Store, folds: int, source: str) -> None:
    sweep = write_code_sweep(store, SCORES, folds=folds, refit_of=2)
    selection = select(store, selection={"artifact_check_source": source})["distilbert"]
    champion = selection.champion
    assert champion is not None, selection.reason
    assert (champion.run_id, champion.trial_run_id) == (sweep.refit, sweep.trials[2])
    assert (champion.sweep_run_id, champion.metric, champion.stable_score) == (sweep.parent, 0.9, 0.8)
    assert len(champion.fold_metrics) == folds
    assert (champion.schema_version, champion.data_fingerprint) == ("2.0", "d" * 64)
    assert (champion.checkpoint_artifact, champion.checkpoint_digest) == (ARCHIVE, None)
    # What the refit calls macro-f1 was not measured on the test split of the configuration.
    assert champion.refit_metric is None
    assert selection.all_groups[0].n_trials == len(SCORES)


def test_an_archive_in_a_folder_of_its_own_name_is_found(store: Store) -> None:
    """``log_artifact(file, artifact_path=name)`` makes a folder of that name."""
    sweep = write_code_sweep(store, SCORES, refit_of=2, is_archived=False)
    assert sweep.refit is not None
    store.log_file(sweep.refit, "trial_2.tar.gz", folder=ARCHIVE)
    champion = select(store, selection={"artifact_check_source": "store"})["distilbert"].champion
    assert champion is not None
    assert champion.checkpoint_artifact == ARCHIVE


def test_a_flag_that_says_an_artifact_is_there_is_not_believed_by_who_looks(store: Store) -> None:
    sweep = write_code_sweep(store, SCORES, refit_of=2, is_archived=False)
    store.log_file(sweep.parent, "other.txt")
    assert select(store)["distilbert"].champion is not None
    looked = select(store, selection={"artifact_check_source": "store"})["distilbert"]
    assert looked.champion is None
    assert f"holds no checkpoint ({ARCHIVE})" in (looked.reason or "")


def test_an_interrupted_sweep_whose_flag_was_left_behind_has_no_champion_and_says_why(store: Store) -> None:
    sweep = write_code_sweep(store, SCORES)
    tags = {"code.stage": "hpo_refit", "code.refit.of_trial_run_id": sweep.trials[2]}
    refit = store.run({**tags, "code.study_key_hash": "a" * 64}, parent=sweep.parent, status="FAILED")
    store.client.set_terminated(sweep.parent, "KILLED")
    selection = select(store)["distilbert"]
    assert selection.champion is None
    assert selection.reason == f"the refit of the best trial {sweep.trials[2]} is not finished (FAILED)"
    store.client.set_terminated(refit, "FINISHED")
    unflagged = select(store)["distilbert"]
    assert "holds no checkpoint" in (unflagged.reason or "")


def test_a_resumed_sweep_is_one_study_with_the_interrupted_one(store: Store) -> None:
    broken = write_code_sweep(store, (0.70, 0.95))
    store.client.set_terminated(broken.parent, "KILLED")
    store.run(
        {"code.stage": "hpo_trial", "code.study_key_hash": "a" * 64}, parent=broken.parent, status="RUNNING"
    )
    resumed = write_code_sweep(store, (0.80, 0.85), refit_of=1)
    refit = store.run(
        {
            "code.stage": "hpo_refit",
            "code.study_key_hash": "a" * 64,
            "code.refit.of_trial_run_id": broken.trials[1],
            "code.artifact.available": "true",
        },
        parent=resumed.parent,
    )
    selection = select(store)["distilbert"]
    assert selection.champion is not None, selection.reason
    assert selection.champion.run_id == refit
    assert [(group.n_trials, group.stable_score) for group in selection.all_groups] == [(4, 0.85)]


def test_a_tie_is_broken_as_the_sweep_broke_it_and_is_reported(store: Store) -> None:
    sweep = write_code_sweep(store, (0.7, 0.9, 0.9, 0.9), refit_of=1)
    other = write_code_sweep(store, SCORES, backbone="roberta", study="b", refit_of=2)
    selections = select(store, "distilbert", "roberta")
    champion = selections["distilbert"].champion
    assert champion is not None
    assert champion.run_id == sweep.refit
    assert selections["distilbert"].selection_metadata["tied_trials"] == sorted(sweep.trials[2:])
    assert selections["roberta"].champion is not None
    assert selections["roberta"].champion.run_id == other.refit


def test_a_tie_without_a_refit_puts_its_backbone_out_and_no_other(store: Store) -> None:
    tied = write_code_sweep(store, (0.7, 0.9, 0.9, 0.9), refit_of=3)
    write_code_sweep(store, SCORES, backbone="roberta", study="b", refit_of=2)
    selections = select(store, "distilbert", "roberta")
    assert selections["distilbert"].champion is None
    assert selections["distilbert"].reason == f"the best trial {tied.trials[1]} has no refit"
    assert selections["roberta"].champion is not None


def test_backbones_of_one_experiment_are_told_apart_by_their_whole_names(store: Store) -> None:
    names = {"bert": 0.6, "bert-base": 0.7, "bert-base-uncased": 0.8, 'it\'s "bert"': 0.9}
    sweeps = {
        name: write_code_sweep(store, (best - 0.2, best - 0.1, best), backbone=name, study=f"{n}", refit_of=2)
        for n, (name, best) in enumerate(names.items())
    }
    quoted = {"quoted": {"recorded_as": 'it\'s "bert"'}}
    project = store.project("code", {**{name: {} for name in names if "'" not in name}, **quoted})
    selections = select_champions(project)
    found = {name: row.champion.run_id for name, row in selections.items() if row.champion}
    assert found == {name if "'" not in name else "quoted": sweep.refit for name, sweep in sweeps.items()}
    assert all(row.all_groups[0].n_trials == 3 for row in selections.values())


def test_older_tag_names_are_read_too(store: Store) -> None:
    parent = store.run({"code.stage": "hpo"}, params={"backbone": "distilbert"})
    for n, score in enumerate(SCORES):
        tags = {"code.stage": "hpo", "code.trial_key_hash": str(n) * 64, "code.study_key_hash": "a" * 64}
        trial = store.run(tags, parent=parent)
        store.run({}, parent=trial, metrics={"macro-f1": score}, params={"lr": str(n)})
    tags = {"code.stage": "hpo_refit", "code.trial_key_hash": "2" * 64, "code.artifact.available": "true"}
    refit = store.run(tags, parent=parent)
    selection = select(store)["distilbert"]
    assert selection.champion is not None, selection.reason
    assert (selection.champion.run_id, selection.champion.schema_version) == (refit, "1.0")


def test_versions_of_the_study_key_are_mixed_only_if_asked_for(store: Store) -> None:
    write_code_sweep(store, (0.97, 0.98, 0.99), version="1.0", study="b", refit_of=2)
    write_code_sweep(store, SCORES, refit_of=2)
    apart = select(store)["distilbert"]
    assert apart.champion is not None
    assert apart.champion.schema_version == "2.0"
    assert [group.left_out for group in apart.all_groups] == [
        "schema version 1.0 is not compared with 2.0, which exists as well",
        None,
    ]
    mixed = select(store, selection={"allow_mixed_schema_groups": True})["distilbert"]
    assert mixed.champion is not None
    assert (mixed.champion.schema_version, mixed.champion.metric) == ("1.0", 0.99)


def test_what_was_deleted_is_not_there(store: Store) -> None:
    sweep = write_code_sweep(store, (*SCORES, 0.99), refit_of=2)
    store.client.delete_run(sweep.trials[4])
    assert select(store)["distilbert"].champion is not None
    assert sweep.refit is not None
    store.client.delete_run(sweep.refit)
    assert select(store)["distilbert"].reason == f"the best trial {sweep.trials[2]} has no refit"
    store.client.delete_experiment(store.experiments["sweep"])
    with pytest.raises(NoChampionError, match="experiment 'sweep' is not in"):
        select(store)


def test_a_run_that_says_the_other_direction_is_an_error_that_names_it(store: Store) -> None:
    write_code_sweep(store, SCORES, refit_of=2)
    with pytest.raises(ConfigError, match=r"has objective\.direction 'maximize'.*has 'minimize'"):
        select(store, hpo={"objective": {"metric": "macro-f1", "direction": "minimize"}})


def test_several_experiments_are_read_together_and_each_must_be_there(store: Store) -> None:
    write_code_sweep(store, SCORES, experiment="first")
    better = write_code_sweep(store, (0.91, 0.92), experiment="second", refit_of=1)
    selection = select(store, tracking={"sweep_experiment": ["first", "second"]})["distilbert"]
    assert selection.champion is not None, selection.reason
    assert selection.champion.run_id == better.refit
    assert selection.champion.experiment_name == "second"
    assert selection.all_groups[0].n_trials == 6
    with pytest.raises(NoChampionError, match="experiment 'third' is not in"):
        select(store, tracking={"sweep_experiment": ["first", "third"]})


def test_a_name_that_the_store_and_the_configuration_use_for_two_backbones_is_not_mixed_up(
    store: Store,
) -> None:
    mine = write_code_sweep(store, SCORES, backbone="org/bert", refit_of=2)
    write_code_sweep(store, (0.97, 0.98, 0.99), backbone="bert", study="b", refit_of=2)
    selections = select_champions(store.project("code", {"bert": {"recorded_as": "org/bert"}}))
    assert selections["bert"].champion is not None
    assert selections["bert"].champion.run_id == mine.refit
    assert selections["bert"].selection_metadata["n_finished_trials"] == len(SCORES)


def test_of_several_checkpoints_the_one_with_the_highest_number_is_found(store: Store) -> None:
    run = store.run({})
    tracker = store.project("code", {"b": {}}).tracker
    assert find_checkpoint(tracker, run, ["checkpoint-*", "model"]) is None
    store.log_file(run, "other.json", folder="model")
    assert find_checkpoint(tracker, run, ["checkpoint-*", "model"]) == "model"
    for step in (9, 10, 2):
        store.log_file(run, "config.json", folder=f"checkpoint-{step}/inner-{step}")
    assert find_checkpoint(tracker, run, ["checkpoint-*", "model"]) == "checkpoint-10"
    assert find_checkpoint(tracker, run, ["checkpoint-*/inner-*"]) == "checkpoint-10/inner-10"
    assert find_checkpoint(tracker, run, ["checkpoint-10/inner-10/config.json"]) is not None
    assert find_checkpoint(tracker, run, ["checkpoint-10/config.json", "mod", "model/other.json/x"]) is None


def test_looking_for_a_model_leaves_the_process_with_the_store_that_it_had(store: Store) -> None:
    run = store.run({})
    tracker = store.project("code", {"b": {}}).tracker
    before = (mlflow.is_tracking_uri_set(), os.environ.get("MLFLOW_TRACKING_URI"))  # type: ignore[no-untyped-call]
    find_checkpoint(tracker, run, ["checkpoint"])
    after = (mlflow.is_tracking_uri_set(), os.environ.get("MLFLOW_TRACKING_URI"))  # type: ignore[no-untyped-call]
    assert after == before
