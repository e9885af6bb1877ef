"""An Optuna study that its own MLflow callback logs: complete, pruned and failed trials."""

import sys
import tempfile
from pathlib import Path

import mlflow
import optuna
from optuna_integration.mlflow import MLflowCallback

uri, study_name = sys.argv[1:3]
callback = MLflowCallback(tracking_uri=uri, metric_name="f1")


@callback.track_in_mlflow()
def objective(trial: optuna.Trial) -> float:
    trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True)
    if trial.number in (1, 3):
        trial.report(0.99, step=0)
        raise optuna.TrialPruned
    if trial.number == 2:
        raise ValueError("this training broke")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text("{}")
        mlflow.log_artifacts(folder, "checkpoint")
    return 0.5 + trial.number / 100


study = optuna.create_study(study_name=study_name, direction="maximize")
study.optimize(objective, n_trials=7, callbacks=[callback], catch=(ValueError,))
