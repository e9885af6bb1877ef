"""The user's own training code logs what selection needs, in bakeoff's own layout."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pytest
import yaml

from bakeoff.core.records import Champion, NamedModel, SourceKind
from bakeoff.disk.digest import digest_folder
from bakeoff.errors import BakeoffError, CheckpointError, DataError, NoChampionError, TrackingError, UserError
from bakeoff.integrations import (
    Study,
    find_best,
    log_failed_trial,
    log_pruned_trial,
    log_refit,
    log_trial,
)
from bakeoff.integrations.optuna import OptunaCallback
from bakeoff.orchestrator import Project, open_project, select_champions
from bakeoff.orchestrator.checkpoints import acquire_checkpoints, find_models
from bakeoff.orchestrator.setup.discover import propose
from bakeoff.orchestrator.setup.write_config import draft_config
from bakeoff.stores import tags
from bakeoff.stores.tracking import Tracker, create_client

OWN_VARIABLE = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"


@pytest.fixture
def place(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a training script, with a store and a data file."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def make_study(**changes: Any) -> Study:
    return Study(**{"name": "ours", "metric": "f1", "data": {"train": "train.jsonl"}} | changes)


def runs_of(place: Path, stage: str) -> list[Any]:
    client = create_client(f"sqlite:///{place}/mlflow.db")
    experiment = client.get_experiment_by_name("sweep")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return [run for run in found if run.data.tags.get(tags.STAGE) == stage][::-1]


def open_written(place: Path, **hpo: Any) -> Project:
    """The project that ``init`` writes for the store, with other settings of the backbones."""
    proposal = propose(Tracker(f"sqlite:///{place}/mlflow.db"))
    (place / "config").mkdir()
    for stage, text in draft_config(proposal, "sqlite:///mlflow.db").items():
        (place / "config" / f"{stage}.yaml").write_text(text)
    if hpo:
        path = place / "config" / "hpo.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | hpo))
    return open_project(place / "config")


def test_a_logged_sweep_gets_its_champion_as_a_sweep_of_bakeoff(
    place: Path, make_classifier: Callable[[str], Path]
) -> None:
    study = make_study()
    for rate, folds in ((np.float32(0.5), [0.5, 0.6]), (0.25, [0.8, 0.9]), (0.125, [0.7, 0.7])):
        log_trial(study, "bert", params={"rate": rate, "freeze": True}, folds=folds)
    best = find_best(make_study(), "bert")  # another process asks
    assert dict(best.params) == {"rate": 0.25, "freeze": True}
    assert best.metric == pytest.approx(0.85)
    folder = make_classifier("bert")
    refit_run = log_refit(best, folder, metrics={"f1": 0.8})

    proposal = propose(Tracker(f"sqlite:///{place}/mlflow.db"))
    assert proposal.layout == "bakeoff"
    assert {found.name: found.is_taken for found in proposal.experiments}["sweep"]
    assert proposal.objective is not None
    assert (proposal.objective.metric, proposal.objective.is_recorded) == ("f1", True)
    assert proposal.task is not None
    assert (proposal.task.settings, proposal.task.is_guess) == ({"kind": "token_classification"}, False)
    assert proposal.task.basis == ("task token_classification: bert is BertForTokenClassification",)
    project = open_written(place)
    champion = select_champions(project)["bert"].champion
    assert champion is not None
    assert (champion.trial_run_id, champion.refit_run_id) == (best.run_id, refit_run)
    assert champion.fold_metrics == (0.8, 0.9)
    assert (champion.evaluation, champion.refit_metric) == ("cross-validation", 0.8)
    assert champion.schema_version == "2.0"
    assert champion.checkpoint_digest == digest_folder(folder)
    (acquired,) = acquire_checkpoints([champion], project)
    assert acquired.checkpoint_path is not None
    assert digest_folder(acquired.checkpoint_path) == digest_folder(folder)
    assert (place / "mlartifacts").is_dir()


def test_all_processes_of_a_study_share_a_sweep_and_other_data_are_another_study(place: Path) -> None:
    first = log_trial(make_study(), "bert", params={"rate": 1}, metrics={"f1": 0.5, "loss": 2})
    second = log_trial(make_study(), "bert", params={"rate": 2}, metrics={"f1": 0.6})
    other = log_trial(make_study(), "roberta", params={"rate": 1}, metrics={"f1": 0.6})
    (place / "train.jsonl").write_text('{"text": "b"}\n')
    moved = log_trial(make_study(), "bert", params={"rate": 1}, metrics={"f1": 0.5})
    assert first.sweep_run_id == second.sweep_run_id
    assert len({first.sweep_run_id, other.sweep_run_id, moved.sweep_run_id}) == 3
    trials = runs_of(place, tags.Stage.TRIAL)
    assert [run.data.tags[tags.TRIAL_NUMBER] for run in trials] == ["0", "1", "0", "0"]
    assert len({run.data.tags[tags.STUDY_KEY_HASH] for run in trials}) == 3
    assert [run.info.status for run in trials] == ["FINISHED"] * 4
    assert trials[0].data.metrics == {"f1": 0.5, "loss": 2.0}
    assert {run.info.status for run in runs_of(place, tags.Stage.SWEEP)} == {"FINISHED"}


def test_the_users_own_requests_to_mlflow_are_as_before(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OWN_VARIABLE, "true")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    before = dict(os.environ)
    log_trial(make_study(), "bert", params={}, metrics={"f1": 0.5})
    assert {name: os.environ.get(name) for name in before} == before
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


@pytest.mark.parametrize(
    ("act", "error", "fault"),
    [
        (lambda: make_study(direction="max"), UserError, "found 'max'; allowed is 'maximize' or 'minimize'"),
        (lambda: make_study(data={}), UserError, "Study.data: found {}; it must not be empty"),
        (
            lambda: log_trial(make_study(data={"dev": "no.csv"}), "b", params={}, metrics={"f1": 1}),
            DataError,
            r"Study.data\['dev'\]: found no file 'no.csv'",
        ),
        (
            lambda: log_trial(make_study(), "b", params={}, metrics={"acc": 1}),
            UserError,
            "metrics: found 'acc'; the study optimises 'f1'; add it",
        ),
        (
            lambda: log_trial(make_study(), "b", params={}, metrics={"f1": "high"}),  # type: ignore[dict-item]
            UserError,
            r"metrics\['f1'\]: found 'high'; expected a number",
        ),
        (
            lambda: log_trial(make_study(), "", params={}, metrics={"f1": 1}),
            UserError,
            "backbone: found an empty",
        ),
        (lambda: find_best(make_study(), "b"), UserError, "no finished trial of 'b' with a finite f1"),
    ],
    ids=["direction", "no data", "absent file", "other metric", "no number", "no backbone", "no trial"],
)
def test_bad_input_is_one_line(
    place: Path, act: Callable[[], object], error: type[BakeoffError], fault: str
) -> None:
    with pytest.raises(error, match=fault) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert runs_of(place, tags.Stage.TRIAL) == []


def test_a_trial_that_the_store_did_not_take_is_logged_by_the_same_call_again(place: Path) -> None:
    study, store = make_study(), place / "mlflow.db"
    log_trial(study, "bert", params={"rate": 1}, metrics={"f1": 0.5})
    kept = store.read_bytes()
    store.write_bytes(b"no database" * 1000)
    with pytest.raises(TrackingError) as caught:
        log_trial(study, "bert", params={"rate": 2}, metrics={"f1": 0.6})
    assert str(caught.value).endswith(
        "what earlier calls logged is kept, and nothing of this call counts; repeat it when the store answers"
    )
    store.write_bytes(kept)
    again = log_trial(study, "bert", params={"rate": 2}, metrics={"f1": 0.6})
    assert find_best(study, "bert").run_id == again.run_id


def test_a_loop_logs_what_it_stopped_early_and_what_failed_and_neither_is_the_best(place: Path) -> None:
    study = make_study()
    whole = log_trial(study, "bert", params={"rate": 1}, metrics={"f1": 0.5})
    log_pruned_trial(study, "bert", params={"rate": 2}, values=[0.7, 0.75])
    log_failed_trial(study, "bert", params={"rate": 3}, reason="out of memory")
    log_pruned_trial(study, "bert", params={"rate": 4}, values=[])
    assert find_best(make_study(), "bert").run_id == whole.run_id
    trials = runs_of(place, tags.Stage.TRIAL)
    assert [run.data.tags[tags.TRIAL_NUMBER] for run in trials] == ["0", "1", "2", "3"]
    states = [run.data.tags[tags.TRIAL_STATE] for run in trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "PRUNED"]
    assert (trials[1].data.metrics, trials[1].data.tags[tags.N_EPOCHS]) == ({"f1_fold_0_epoch": 0.75}, "2")
    assert trials[2].data.tags[tags.NOTE] == "out of memory"
    with pytest.raises(UserError, match=r"values\[0\]: found 'high'; expected a number"):
        log_pruned_trial(study, "bert", params={}, values=["high"])  # type: ignore[list-item]


def test_a_folder_without_a_model_is_refused_before_a_run_is_made(place: Path) -> None:
    best = log_trial(make_study(), "bert", params={}, metrics={"f1": 0.5})
    (place / "out").mkdir()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        log_refit(best, place / "out")
    assert runs_of(place, tags.Stage.REFIT) == []


def test_a_refit_that_could_not_be_logged_whole_is_never_a_champion(
    place: Path, make_classifier: Callable[[str], Path]
) -> None:
    best = log_trial(make_study(), "bert", params={"rate": 1}, metrics={"f1": 0.5})
    (place / "mlartifacts").write_text("in the way of the upload")
    with pytest.raises(TrackingError, match="what earlier calls logged is kept") as caught:
        log_refit(best, make_classifier("bert"))
    assert "measurements" not in str(caught.value)
    (run,) = runs_of(place, tags.Stage.REFIT)
    assert (run.info.status, tags.ARTIFACT_AVAILABLE in run.data.tags) == ("FAILED", False)


def test_optuna_trials_are_logged_by_their_state(place: Path) -> None:
    def objective(trial: optuna.Trial) -> float:
        rate: float = trial.suggest_float("rate", 0.0, 1.0)
        trial.suggest_categorical("backbone", ["bert"])
        trial.report(0.1, 0)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise RuntimeError("out of memory")
        trial.set_user_attr("folds", [rate, rate])
        trial.set_user_attr("seconds", 3)
        return rate

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    callback = OptunaCallback(make_study())
    search.optimize(objective, n_trials=4, callbacks=[callback], catch=RuntimeError)
    trials = runs_of(place, tags.Stage.TRIAL)
    assert [run.data.tags[tags.TRIAL_STATE] for run in trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert [run.info.status for run in trials] == ["FINISHED", "KILLED", "FAILED", "FINISHED"]
    assert set(trials[0].data.metrics) == {"f1", "f1_fold_0", "f1_fold_1", "seconds"}
    assert trials[0].data.params.keys() == {"rate"}
    assert callback.trials.keys() == {0, 3}
    assert find_best(make_study(), "bert").run_id == callback.trials[search.best_trial.number].run_id
    with pytest.raises(UserError, match="found directions minimize; the study of bakeoff has one, maximize"):
        optuna.create_study().optimize(lambda _: 1.0, n_trials=1, callbacks=[callback])


@pytest.fixture
def logged_pipeline(place: Path) -> Path:
    """A sweep whose refit is a model of scikit-learn."""
    from mlflow.models import infer_signature
    from sklearn.dummy import DummyClassifier

    study = make_study(metric="accuracy")
    for number in range(3):
        log_trial(study, "dummy", params={"seed": number}, metrics={"accuracy": 0.5 + number / 10})
    model = DummyClassifier().fit([["a"], ["b"]], ["yes", "no"])
    signature = infer_signature(["a"], np.array(["yes"]))
    mlflow.sklearn.save_model(model, place / "model", signature=signature, pip_requirements=["scikit-learn"])
    log_refit(find_best(study, "dummy"), place / "model")
    return place


def test_a_champion_that_runs_code_is_measured_once_it_is_trusted(
    logged_pipeline: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = open_written(logged_pipeline)
    hpo = (logged_pipeline / "config" / "hpo.yaml").read_text()
    assert '"dummy": {trust_code: false} # TODO: an MLflow model, which runs code' in hpo
    assert project.settings.data.task.kind == "text_classification"
    data = (logged_pipeline / "config" / "data.yaml").read_text()
    assert "sklearn) that answers text; a guess\n# TODO: check the task" in data
    (champion,) = find_models(project)
    assert isinstance(champion, Champion)
    assert acquire_checkpoints([champion], project) == ()
    assert (
        "an MLflow model, which may load pickles or code; if you trust its author, set trust_code"
        in caplog.text
    )
    shutil.rmtree(logged_pipeline / "config")
    project = open_written(logged_pipeline, backbones={"dummy": {"trust_code": True}})
    (model,) = find_models(project)
    assert isinstance(model, NamedModel)
    assert (model.backbone, model.kind) == ("dummy", SourceKind.PYFUNC)
    assert model.source == f"runs:/{champion.refit_run_id}/checkpoint"
    assert model.checkpoint_digest == champion.checkpoint_digest


def test_a_trusted_champion_with_other_bytes_than_were_logged_is_skipped(logged_pipeline: Path) -> None:
    (stored,) = (logged_pipeline / "mlartifacts").rglob("MLmodel")
    stored.write_text(stored.read_text() + "# changed\n")
    project = open_written(logged_pipeline, backbones={"dummy": {"trust_code": True}})
    with pytest.raises(NoChampionError):
        find_models(project)


@pytest.mark.slow
@pytest.mark.parametrize(("keeps_best", "metric"), [(True, 0.9), (False, 0.6)])
def test_a_trainer_logs_the_metric_of_the_weights_that_it_ends_with(
    place: Path, tiny_backbone: Path, caplog: pytest.LogCaptureFixture, keeps_best: bool, metric: float
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    from bakeoff.integrations.transformers import BakeoffCallback, BakeoffRefitCallback

    class Texts(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 4

        def __getitem__(self, row: int) -> dict[str, Any]:
            return {"input_ids": [2, 5, 3], "attention_mask": [1, 1, 1], "labels": row % 2}

    scores = iter((0.9, 0.6))

    def train(callback: Any, **more: Any) -> None:
        arguments = TrainingArguments(
            str(place / "out"), num_train_epochs=2, report_to="none", use_cpu=True, disable_tqdm=True, **more
        )
        Trainer(
            AutoModelForSequenceClassification.from_pretrained(tiny_backbone),
            arguments,
            train_dataset=Texts(),
            eval_dataset=Texts(),
            processing_class=AutoTokenizer.from_pretrained(tiny_backbone),
            compute_metrics=lambda _: {"f1": next(scores)},
            callbacks=[callback],
        ).train()

    callback = BakeoffCallback(make_study())
    with pytest.raises(UserError, match="eval_strategy: found 'no'"):
        train(callback)
    train(
        callback,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=keeps_best,
        metric_for_best_model="f1",
    )
    trial = callback.trial
    assert trial is not None
    assert (trial.metric, trial.backbone) == (metric, tiny_backbone.name)
    assert trial.params["num_train_epochs"] == 2
    refit = BakeoffRefitCallback(trial)
    train(refit)
    (run,) = runs_of(place, tags.Stage.REFIT)
    assert (run.info.run_id, run.data.tags[tags.REFIT_OF_TRIAL]) == (refit.run_id, trial.run_id)
    config = place.joinpath("mlartifacts").rglob("checkpoint/config.json")
    assert json.loads(next(iter(config)).read_text())["model_type"] == "bert"
    (place / "mlartifacts").rename(place / "away")
    (place / "mlartifacts").write_text("in the way of the upload")
    caplog.clear()
    with pytest.raises(TrackingError):
        train(BakeoffRefitCallback(trial))
    (line,) = (text for text in caplog.messages if "is kept in" in text)
    folder = Path(line.split(" is kept in ")[1].partition(";")[0])
    (place / "mlartifacts").unlink()
    assert log_refit(trial, folder) in {run.info.run_id for run in runs_of(place, tags.Stage.REFIT)}
    shutil.rmtree(folder)
