"""Recorder of sweep, trial, fold and refit runs while they happen."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.core.identity import STUDY_KEY_SCHEMA_VERSION, build_trial_key_hash
from bakeoff.record import Record
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking.client import Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run

TEST_PREFIX = "test_"
# States of runs as MLflow names them, and of trials as Optuna does.
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
COMPLETE, PRUNED, FAIL = "COMPLETE", "PRUNED", "FAIL"


class StudyIdentity(Record):
    """Values that every run of a study carries as tags."""

    backbone: str
    study_key_hash: str
    study_family_hash: str
    data_fingerprint: str
    eval_fingerprint: str
    metric: str
    direction: str

    @property
    def tags(self) -> dict[str, str]:
        """Tags of CONTRACT.md that all runs of the study share."""
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
    """Writer of the runs of one study.

    Args:
        tracker: Tracking store.
        experiment_id: Id of the sweep experiment.
        identity: Identity of the study.
        sweep_run_id: Run of a sweep to continue or join; None opens a new one.
    """

    def __init__(
        self, tracker: Tracker, experiment_id: str, identity: StudyIdentity, sweep_run_id: str | None
    ) -> None:
        self._tracker = tracker
        self._experiment_id = experiment_id
        self._identity = identity
        self._open_trials: dict[int, str] = {}
        self.sweep_run_id = sweep_run_id or self._create(Stage.SWEEP, f"sweep {identity.backbone}", None)

    def reopen_sweep(self) -> None:
        """Continue an interrupted sweep; a refit that it left open is closed as KILLED."""
        self._tracker.reopen_run(self.sweep_run_id)
        for run in self._find_open(Stage.REFIT):
            self._tracker.end_run(run.info.run_id, KILLED)

    def start_trial(self, number: int, params: Mapping[str, Any], retry_of: int | None = None) -> str:
        """Open a trial run with its parameters; return its id. A retry names the trial that it repeats."""
        more = {
            tags.TRIAL_KEY_HASH: build_trial_key_hash(self._identity.study_key_hash, params),
            tags.TRIAL_NUMBER: str(number),
        }
        if retry_of is not None:
            more[tags.RETRY_OF] = str(retry_of)
        run_id = self._create(Stage.TRIAL, f"trial {number}", self.sweep_run_id, more)
        self._open_trials[number] = run_id
        self._tracker.log(run_id, params={name: str(value) for name, value in params.items()})
        return run_id

    def log_fold(
        self, number: int, fold: int, metrics: Mapping[str, float], epochs: Sequence[float] = ()
    ) -> None:
        """Write a fold's complete run, and the curve of its epochs to the trial's run."""
        run_id = self._create(Stage.FOLD, f"trial {number} fold {fold}", self._open_trials[number])
        self._tracker.log(run_id, metrics=metrics, params={"fold": str(fold)})
        self._tracker.end_run(run_id, FINISHED)
        if epochs:
            self._tracker.log(self._open_trials[number], curves={self._epoch_metric(fold): epochs})

    def score_trial(
        self,
        number: int,
        metric: float,
        fold_metrics: Sequence[float],
        others: Mapping[str, float] | None = None,
    ) -> None:
        """Write a trial's score, and other metrics; the run stays open until Optuna has the score too."""
        folds = {_fold_metric(self._identity.metric, fold): value for fold, value in enumerate(fold_metrics)}
        metrics = {**(others or {}), self._identity.metric: metric, **folds}
        self._tracker.log(self._open_trials[number], metrics=metrics)

    def close_trial(self, number: int, state: str) -> None:
        """Close the run of a trial whose score Optuna has."""
        self._end_trial(self._open_trials.pop(number), FINISHED, {tags.TRIAL_STATE: state})

    def prune_trial(self, number: int, epochs: Sequence[float]) -> None:
        """Close the run of a pruned trial, which has no score."""
        run_id = self._open_trials.pop(number)
        self._tracker.log(run_id, curves={self._epoch_metric(0): epochs})
        self._end_trial(run_id, KILLED, {tags.TRIAL_STATE: PRUNED, tags.N_EPOCHS: str(len(epochs))})

    def fail_trial(self, number: int, reason: str, *, is_retried: bool) -> None:
        """Close the run of a failed trial of any worker: KILLED if there is a retry, else FAILED."""
        run_id = self._open_trials.pop(number, None)
        found = [run_id] if run_id else self._find_trial(number)
        status = KILLED if is_retried else FAILED
        for each in found:  # none, if its process died before it made the run
            self._end_trial(each, status, {tags.TRIAL_STATE: FAIL, tags.NOTE: reason})

    def abandon_trials(self) -> None:
        """Close the runs of this process's unfinished trials."""
        while self._open_trials:
            _, run_id = self._open_trials.popitem()
            self._end_trial(run_id, KILLED, {tags.TRIAL_STATE: FAIL})

    def settle_trials(self, states: Mapping[int, str], retried: Set[int]) -> None:
        """Close open runs of this sweep whose trials have ended in Optuna.

        Their processes died between the two steps, or are about to close them.

        Args:
            states: State of each trial of the study, by number.
            retried: Numbers of the trials with a retry.
        """
        for run in self._find_open(Stage.TRIAL):
            text = run.data.tags.get(tags.TRIAL_NUMBER, "")
            number = int(text) if text.isdecimal() else -1
            state = states.get(number, FAIL)
            if state in {"WAITING", "RUNNING"}:
                continue
            status = FAILED if state == FAIL and number in states and number not in retried else KILLED
            if state == COMPLETE:
                status = FINISHED
            self._end_trial(run.info.run_id, status, {tags.TRIAL_STATE: state})

    def start_refit(self, *, trial_run_id: str, trial_key_hash: str, sweep_run_id: str) -> str:
        """Open the refit run of a trial; return its id."""
        return self._create(
            Stage.REFIT,
            f"refit {self._identity.backbone}",
            sweep_run_id,
            {
                tags.TRIAL_KEY_HASH: trial_key_hash,
                tags.REFIT_OF_TRIAL: trial_run_id,
                tags.LINEAGE_TRIAL: trial_run_id,
                tags.LINEAGE_SWEEP: sweep_run_id,
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
        """Upload the checkpoint, then tag it as available, then close the run."""
        self._tracker.log(
            run_id,
            params={name: str(value) for name, value in params.items()},
            metrics={TEST_PREFIX + name: value for name, value in metrics.items()},
        )
        self._tracker.log_files(run_id, [checkpoint], tags.CHECKPOINT_ARTIFACT)
        self._tracker.log(
            run_id, tags={tags.CHECKPOINT_DIGEST: checkpoint_digest, tags.ARTIFACT_AVAILABLE: "true"}
        )
        self._tracker.end_run(run_id, FINISHED)

    def fail_refit(self, run_id: str, reason: str) -> None:
        """Close the run of a failed refit."""
        self._tracker.log(run_id, tags={tags.NOTE: reason})
        self._tracker.end_run(run_id, FAILED)

    def finish_sweep(self) -> None:
        """Close the sweep run."""
        self._tracker.end_run(self.sweep_run_id, FINISHED)

    def break_off(self) -> None:
        """Close the sweep run as interrupted."""
        self.abandon_trials()
        self._tracker.end_run(self.sweep_run_id, KILLED)

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

    def _end_trial(self, run_id: str, status: str, more: Mapping[str, str]) -> None:
        self._tracker.log(run_id, tags=more)
        self._tracker.end_run(run_id, status)

    def _find_trial(self, number: int) -> list[str]:
        below = {tags.STAGE: Stage.TRIAL, tags.PARENT_RUN_ID: self.sweep_run_id}
        found = self._tracker.search_runs(self._experiment_id, {**below, tags.TRIAL_NUMBER: str(number)})
        return [run.info.run_id for run in found]

    def _find_open(self, stage: Stage) -> list[Run]:
        below = {tags.STAGE: stage, tags.PARENT_RUN_ID: self.sweep_run_id}
        found = self._tracker.search_runs(self._experiment_id, below)
        return [run for run in found if run.info.status == RUNNING]

    def _epoch_metric(self, fold: int) -> str:
        return f"{_fold_metric(self._identity.metric, fold)}_epoch"


class TrialCounts(Record):
    """Counts of the ended trials of a study.

    Attributes:
        n_ended: Finished, pruned and finally failed trials; a trial with a retry does not count.
        n_pruned: Pruned trials among them.
    """

    n_ended: int
    n_pruned: int


def find_next_number(tracker: Tracker, experiment_id: str, study_key_hash: str) -> int:
    """Find the number after those of a study's trials."""
    found = tracker.search_runs(experiment_id, {tags.STAGE: Stage.TRIAL, tags.STUDY_KEY_HASH: study_key_hash})
    texts = (run.data.tags.get(tags.TRIAL_NUMBER, "") for run in found)
    return max((int(text) for text in texts if text.isdecimal()), default=-1) + 1


def count_trials(tracker: Tracker, experiment_id: str, study_key_hash: str) -> TrialCounts:
    """Count the ended trials of a study, as Optuna counts them."""
    n_ended = n_pruned = 0
    for run in tracker.search_runs(
        experiment_id, {tags.STAGE: Stage.TRIAL, tags.STUDY_KEY_HASH: study_key_hash}
    ):
        is_pruned = run.data.tags.get(tags.TRIAL_STATE) == PRUNED
        n_pruned += is_pruned
        n_ended += is_pruned or run.info.status in {FINISHED, FAILED}
    return TrialCounts(n_ended=n_ended, n_pruned=n_pruned)


def find_running_sweeps(
    tracker: Tracker, experiment_id: str, backbone: str
) -> list[tuple[str, dict[str, str]]]:
    """Find run id and tags of each running sweep of a backbone, the newest first."""
    found = tracker.search_runs(experiment_id, {tags.STAGE: Stage.SWEEP, tags.BACKBONE: backbone})
    return [(run.info.run_id, dict(run.data.tags)) for run in found if run.info.status == RUNNING][::-1]


def find_sweeps(tracker: Tracker, experiment_id: str, study_key_hash: str) -> list[tuple[str, str]]:
    """Find run id and status of each sweep of a study, oldest first."""
    return [
        (run.info.run_id, run.info.status)
        for run in tracker.search_runs(
            experiment_id, {tags.STAGE: Stage.SWEEP, tags.STUDY_KEY_HASH: study_key_hash}
        )
    ]


def _fold_metric(name: str, fold: int) -> str:
    return f"{name}_fold_{fold}"
