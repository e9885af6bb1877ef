"""Sweep, trial, fold and refit runs, written as they happen."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakeoff.core.identity import STUDY_KEY_SCHEMA_VERSION, build_trial_key_hash
from bakeoff.core.records import Trial
from bakeoff.record import Record
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking.client import Tracker

TEST_PREFIX = "test_"


class StudyIdentity(Record):
    """What every run of a study carries as tags."""

    backbone: str
    study_key_hash: str
    study_family_hash: str
    data_fingerprint: str
    eval_fingerprint: str
    metric: str
    direction: str

    @property
    def tags(self) -> dict[str, str]:
        """The tags of CONTRACT that all runs of the study share."""
        return {
            tags.SCHEMA_VERSION: tags.TAG_SCHEMA,
            tags.BACKBONE: self.backbone,
            tags.STUDY_KEY_HASH: self.study_key_hash,
            tags.STUDY_FAMILY_HASH: self.study_family_hash,
            tags.STUDY_KEY_SCHEMA_VERSION: STUDY_KEY_SCHEMA_VERSION,
            tags.DATA_FINGERPRINT: self.data_fingerprint,
            tags.EVAL_FINGERPRINT: self.eval_fingerprint,
            tags.OBJECTIVE_METRIC: self.metric,
            tags.OBJECTIVE_DIRECTION: self.direction,
        }


class SweepRecorder:
    """Writes the runs of one study.

    Args:
        tracker: Where to.
        experiment_id: Of the sweep experiment.
        identity: Of the study.
        sweep_run_id: Of a sweep that is continued; None opens a new one.
    """

    def __init__(
        self, tracker: Tracker, experiment_id: str, identity: StudyIdentity, sweep_run_id: str | None
    ) -> None:
        self._tracker = tracker
        self._experiment_id = experiment_id
        self._identity = identity
        self._trial_runs: dict[int, str] = {}
        if sweep_run_id is None:
            self.sweep_run_id = self._create(Stage.SWEEP, f"sweep {identity.backbone}", None)
        else:
            self.sweep_run_id = sweep_run_id
            tracker.reopen_run(sweep_run_id)
            self._close_stale()

    def start_trial(self, number: int, params: Mapping[str, Any]) -> None:
        """Open a trial run with its parameters."""
        trial_key = build_trial_key_hash(self._identity.study_key_hash, params)
        run_id = self._create(
            Stage.TRIAL, f"trial {number}", self.sweep_run_id, {tags.TRIAL_KEY_HASH: trial_key}
        )
        self._trial_runs[number] = run_id
        self._tracker.log(run_id, params={name: str(value) for name, value in params.items()})

    def log_fold(self, number: int, fold: int, metrics: Mapping[str, float]) -> None:
        """Write a fold's run, whole."""
        run_id = self._create(Stage.FOLD, f"trial {number} fold {fold}", self._trial_runs[number])
        self._tracker.log(run_id, metrics=metrics, params={"fold": str(fold)})
        self._tracker.end_run(run_id, "FINISHED")

    def finish_trial(self, number: int, metric: float, fold_metrics: tuple[float, ...]) -> None:
        """Write a trial's score and close its run."""
        run_id = self._trial_runs[number]
        folds = {_fold_metric(self._identity.metric, fold): value for fold, value in enumerate(fold_metrics)}
        self._tracker.log(run_id, metrics={self._identity.metric: metric, **folds})
        self._tracker.end_run(run_id, "FINISHED")

    def fail_trial(self, number: int, reason: str) -> None:
        """Close the run of a trial whose training broke."""
        run_id = self._trial_runs[number]
        self._tracker.log(run_id, tags={tags.NOTE: reason})
        self._tracker.end_run(run_id, "FAILED")

    def start_refit(self, trial: Trial) -> str:
        """Open the refit run of a trial; returns its id."""
        return self._create(
            Stage.REFIT,
            f"refit {self._identity.backbone}",
            trial.sweep_run_id,
            {
                tags.TRIAL_KEY_HASH: trial.trial_key_hash,
                tags.REFIT_OF_TRIAL: trial.run_id,
                tags.LINEAGE_TRIAL: trial.run_id,
                tags.LINEAGE_SWEEP: trial.sweep_run_id,
            },
        )

    def finish_refit(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        checkpoint: Path,
        checkpoint_digest: str,
    ) -> None:
        """Upload the checkpoint, then say that it is there, then close the run."""
        self._tracker.log(
            run_id,
            params={name: str(value) for name, value in params.items()},
            metrics={TEST_PREFIX + name: value for name, value in metrics.items()},
        )
        self._tracker.log_files(run_id, [checkpoint], tags.CHECKPOINT_ARTIFACT)
        self._tracker.log(
            run_id, tags={tags.CHECKPOINT_DIGEST: checkpoint_digest, tags.ARTIFACT_AVAILABLE: "true"}
        )
        self._tracker.end_run(run_id, "FINISHED")

    def fail_refit(self, run_id: str, reason: str) -> None:
        """Close the run of a refit that broke."""
        self._tracker.log(run_id, tags={tags.NOTE: reason})
        self._tracker.end_run(run_id, "FAILED")

    def finish_sweep(self) -> None:
        """Close the sweep run."""
        self._tracker.end_run(self.sweep_run_id, "FINISHED")

    def break_off(self) -> None:
        """Close the sweep run as interrupted."""
        self._tracker.end_run(self.sweep_run_id, "KILLED")

    def _create(
        self, stage: Stage, name: str, parent: str | None, more: Mapping[str, str] | None = None
    ) -> str:
        parent_tag = {tags.PARENT_RUN_ID: parent} if parent else {}
        return self._tracker.create_run(
            self._experiment_id,
            name,
            {**self._identity.tags, tags.STAGE: stage, **parent_tag, **(more or {})},
            nonce=uuid.uuid4().hex,
        )

    def _close_stale(self) -> None:
        """Close what an interruption left open below this sweep: it will not be finished."""
        for stage in (Stage.TRIAL, Stage.REFIT):
            for run in self._tracker.search_runs(
                self._experiment_id, {tags.STAGE: stage, tags.PARENT_RUN_ID: self.sweep_run_id}
            ):
                if run.info.status == "RUNNING":
                    self._tracker.end_run(run.info.run_id, "KILLED")


def find_sweeps(tracker: Tracker, experiment_id: str, study_key_hash: str) -> list[tuple[str, str]]:
    """Run id and status of each sweep of a study, oldest first."""
    return [
        (run.info.run_id, run.info.status)
        for run in tracker.search_runs(
            experiment_id, {tags.STAGE: Stage.SWEEP, tags.STUDY_KEY_HASH: study_key_hash}
        )
    ]


def _fold_metric(name: str, fold: int) -> str:
    return f"{name}_fold_{fold}"
