"""A tracking store of the old shape, as the older project's own code wrote it.

Experiments are ``{experiment}-hpo-{backbone}`` and ``{experiment}-benchmark``. A sweep is a parent run with
params that name the objective. Trials, folds and the refit are nested in it, side by side: a fold names its
trial by number alone, without a stage. A refit has an archive and no metrics. Without cross-validation a
trial has no metric, params or hash; a run nested in it has metric and params.

Use it with any MLflow client::

    sweep = write_old_sweep(client, tmp_path, (0.7, 0.9, 0.8), refit_of=1, checkpoint=folder)
    write_old_benchmark(client, tmp_path, sweep)
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

ARCHIVE = "best_trial_checkpoint.tar.gz"
METRIC = "macro-f1"
_PARENT = "mlflow.parentRunId"
_START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class OldSweep:
    """Ids of what one old sweep wrote.

    Attributes:
        experiment: Name of its experiment.
        trials: Trial runs, by trial number.
        values: Runs with the trials' metrics: the trials themselves, or the runs nested in them.
    """

    experiment: str
    experiment_id: str
    backbone: str
    parent: str
    trials: tuple[str, ...]
    values: tuple[str, ...]
    refit: str | None
    study_key_hash: str


def hash_text(text: str) -> str:
    """Return a digest of 64 hex digits, in place of the old recipes."""
    return hashlib.sha256(text.encode()).hexdigest()


def open_experiment(client: MlflowClient, folder: Path, name: str) -> str:
    """Find or make an experiment; its artifacts lie in ``folder/artifacts``."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=(folder / "artifacts" / name).as_uri()))


class Writer:
    """Writes whole runs to one experiment, each a second after the one before."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self._clock_ms = _START_MS + 1000 * len(client.search_runs([experiment_id]))

    def run(
        self,
        tags: Mapping[str, str],
        *,
        parent: str | None = None,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> str:
        self._clock_ms += 1000
        own = {**tags, **({_PARENT: parent} if parent else {})}
        made = self.client.create_run(self.experiment_id, start_time=self._clock_ms, tags=own)
        run_id = str(made.info.run_id)
        rows = [Metric(name, value, self._clock_ms, 0) for name, value in (metrics or {}).items()]
        if rows or params:
            self.client.log_batch(run_id, rows, [Param(*item) for item in (params or {}).items()])
        self.client.set_terminated(run_id)
        return run_id


def write_old_sweep(
    client: MlflowClient,
    folder: Path,
    scores: Sequence[float],
    *,
    backbone: str = "distilbert",
    experiment: str = "resume_ner",
    folds: int = 3,
    refit_of: int | None = None,
    checkpoint: Path | None = None,
    trial_stage: str = "hpo_trial",
    goal: str = "maximize",
) -> OldSweep:
    """Write one sweep: parent, trials, folds and a refit.

    Args:
        client: Client of the store.
        folder: Folder for artifacts.
        scores: Metric of each trial, by trial number.
        backbone: Name of the backbone.
        experiment: Beginning of the experiment's name.
        folds: Folds of each trial; 0 for a sweep without cross-validation.
        refit_of: Number of the trial to refit; None leaves the refit away.
        checkpoint: Folder to pack into the refit's archive; None logs an archive without a checkpoint.
        trial_stage: ``hpo_trial``, or ``hpo`` as the oldest code wrote it.
        goal: Direction of the objective.
    """
    name = f"{experiment}-hpo-{backbone}"
    experiment_id = open_experiment(client, folder, name)
    writer, study = Writer(client, experiment_id), hash_text(f"study {experiment} {backbone}")
    parent = writer.run(
        {
            "code.stage": "hpo",
            "code.study_key_hash": study,
            "code.study.key_schema_version": "2.0",
            "code.fingerprint.data": hash_text("data"),
            "code.fingerprint.eval": hash_text("eval"),
            "code.objective.direction": goal,
            "code.artifact.available": "true",
        },
        params={
            "backbone": backbone,
            "primary_metric": METRIC,
            "objective_metric": METRIC,
            "objective_goal": goal,
        },
    )
    trials, values = [], []
    for number, score in enumerate(scores):
        params = {"learning_rate": f"{number + 1}e-05", "batch_size": "16"}
        tags = {"code.stage": trial_stage, "trial_number": str(number)}
        if not folds:
            trial = writer.run(tags, parent=parent)
            trials.append(trial)
            values.append(
                writer.run(
                    {"trial_number": str(number)}, parent=trial, metrics={METRIC: score}, params=params
                )
            )
            continue
        tags |= {"code.study_key_hash": study, "code.trial_key_hash": hash_text(f"{study} trial {number}")}
        each = [score + (fold - (folds - 1) / 2) / 100 for fold in range(folds)]
        metrics = {METRIC: score, "cv_mean": score, "cv_std": 0.01}
        metrics |= {f"fold_{fold}_{METRIC}": value for fold, value in enumerate(each)}
        trials.append(writer.run(tags, parent=parent, metrics=metrics, params=params))
        for fold, value in enumerate(each):
            beside = {"trial_number": str(number), "fold_idx": str(fold)}
            writer.run(beside, parent=parent, metrics={METRIC: value, "eval_loss": 1 - value})
    values = values or trials
    refit = None
    if refit_of is not None:
        refit = writer.run(
            {
                "code.stage": "hpo_refit",
                "code.study_key_hash": study,
                "code.trial_key_hash": hash_text(f"{study} trial {refit_of}"),
                "code.refit.of_trial_run_id": trials[refit_of],
                "code.artifact.available": "true",
            },
            parent=parent,
        )
        client.log_artifact(refit, str(pack_checkpoint(folder / "upload", checkpoint)))
    return OldSweep(name, experiment_id, backbone, parent, tuple(trials), tuple(values), refit, study)


def write_old_benchmark(
    client: MlflowClient, folder: Path, sweep: OldSweep, experiment: str = "resume_ner"
) -> str:
    """Write the benchmark run of a sweep's refit; return its id."""
    writer = Writer(client, open_experiment(client, folder, f"{experiment}-benchmark"))
    figures = {"latency_batch_1_ms": 5.0, "latency_batch_1_p50_ms": 4.9, "latency_batch_1_p95_ms": 6.0}
    return writer.run(
        {
            "code.stage": "benchmarking",
            "code.study_key_hash": sweep.study_key_hash,
            "code.benchmark_config_hash": "0123456789abcdef",
            "benchmark_key": f"{sweep.refit}:{hash_text('data')}:{hash_text('eval')}:0123456789abcdef",
        },
        metrics={**figures, "latency_batch_1_p99_ms": 7.0, "throughput_samples_per_sec": 200.0},
    )


def pack_checkpoint(folder: Path, checkpoint: Path | None) -> Path:
    """Pack a checkpoint as the old code did; return the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / ARCHIVE
    with tarfile.open(archive, "w:gz") as tar:
        if checkpoint is not None:
            tar.add(checkpoint, arcname="checkpoint")
    return archive
