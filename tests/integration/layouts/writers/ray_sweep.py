"""A Ray Tune search over two backbones that its own MLflow callback logs; one training breaks."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["RAY_AUTH_MODE"] = "disabled"

import ray
from mlflow.tracking import MlflowClient
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback

uri, folder = sys.argv[1], sys.argv[2]


def train(config: dict[str, Any]) -> None:
    if config["rate"] == 0.4 and config["backbone"] == "bert":
        raise ValueError("this training broke")
    for epoch in range(2):
        with tempfile.TemporaryDirectory() as checkpoint:
            Path(checkpoint, "config.json").write_text("{}")
            tune.report(
                {"f1": config["rate"] * (epoch + 1)}, checkpoint=tune.Checkpoint.from_directory(checkpoint)
            )


# Not a cluster that somebody else runs on this machine, whose address Ray would find and join.
ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
results = tune.Tuner(
    train,
    param_space={
        "rate": tune.grid_search([0.1, 0.2, 0.3, 0.4]),
        "backbone": tune.grid_search(["bert", "bert-small"]),
    },
    run_config=tune.RunConfig(
        storage_path=folder,
        verbose=0,
        callbacks=[MLflowLoggerCallback(tracking_uri=uri, experiment_name="sweep", save_artifact=True)],
    ),
).fit()
client = MlflowClient(uri, uri)
experiment = client.get_experiment_by_name("sweep")
assert experiment is not None
for run in client.search_runs([experiment.experiment_id]):
    for result in results:
        is_this = result.config == {
            "rate": float(run.data.params["rate"]),
            "backbone": run.data.params["backbone"],
        }
        # Tune keeps checkpoints in its own storage: the one that shall ship is logged by hand.
        if is_this and result.checkpoint and result.config["backbone"] == "bert":
            client.log_artifacts(run.info.run_id, result.checkpoint.path, "checkpoint")
