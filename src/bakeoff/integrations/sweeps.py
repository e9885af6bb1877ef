"""Trials and refits of your own training code, logged with the tags that ``bakeoff sweep`` writes."""

from __future__ import annotations

import ast
import itertools
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from bakeoff.core.identity import (
    build_study_family_hash,
    build_study_key_hash,
    build_trial_key_hash,
    compute_data_fingerprint,
    compute_eval_fingerprint,
)
from bakeoff.core.records import Trial
from bakeoff.core.selection.select import find_best_trial
from bakeoff.disk.digest import digest_folder, digest_json
from bakeoff.errors import DataError, TrackingError, UserError
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.row_model import MLMODEL_FILE, open_row_model
from bakeoff.measure.tasks.metrics import Direction
from bakeoff.orchestrator.progress import warn
from bakeoff.stores import tags
from bakeoff.stores.documents import digest_data
from bakeoff.stores.layouts import OWN_LAYOUT, load_layout
from bakeoff.stores.tracking import Tracker, borrowing_process, reading
from bakeoff.stores.tracking.recorder import (
    COMPLETE,
    StudyIdentity,
    SweepRecorder,
    find_next_number,
    find_sweeps,
)
from bakeoff.uris import find_sqlite_path, is_database

DEFAULT_URI = "sqlite:///mlflow.db"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
_RELATIVE_SQLITE = "sqlite:///"
# Of the evaluator in the fingerprint of the evaluation: bakeoff does not know your code.
_OWN_CODE = "your own code"
# State that datasets.Dataset.save_to_disk writes.
_DATASETS_STATE = "state.json"
_MOST_EXACT = 2**53
_SAFE = "what earlier calls logged is kept, and nothing of this call counts; repeat it when the store answers"
# Threads of one process take turns: each call sets variables of the process for MLflow.
_turn = threading.RLock()

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class _OpenStudy:
    """Study of one backbone that this process logs to, with the numbers of its next trials."""

    recorder: SweepRecorder
    study_key_hash: str
    numbers: Iterator[int]


@dataclass(frozen=True)
class Study:
    """Trials that may be compared: the same data, metric and settings, for any number of backbones.

    bakeoff never compares trials of two studies. A change of any part but the last three makes another study.

    Attributes:
        name: Name of the study.
        metric: Name of the metric that the search optimises, as you log it.
        data: Files or folders that you train and evaluate on, by their role, such as
            ``{"train": "train.jsonl", "test": "test.jsonl"}``. Their content counts, not their path. For data
            that are not files, name their version with a text.
        direction: ``maximize`` if more of the metric is better, ``minimize`` if less is.
        settings: Settings that all trials share, such as the number of folds.
        evaluation: Options of the metric, such as ``{"average": "macro"}``.
        pretrained: Folder of each backbone's pretrained model, by the name of the backbone.
        experiment: Experiment of the tracking store that gets the runs.
        tracking_uri: Tracking store; None takes ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``.
        artifact_location: URI for the files of a new experiment. None means ``mlartifacts`` next to a SQLite
            file or in the working folder, or the choice of an MLflow server.
    """

    name: str
    metric: str
    data: Mapping[str, AnyPath] | str
    direction: Direction = "maximize"
    settings: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    pretrained: Mapping[str, AnyPath] = field(default_factory=dict)
    experiment: str = "sweep"
    tracking_uri: str | None = None
    artifact_location: str | None = None
    _open: dict[str, _OpenStudy] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for part in ("name", "metric", "data", "experiment"):
            if not getattr(self, part):
                raise UserError(f"Study.{part}: found {getattr(self, part)!r}; it must not be empty; set it")
        if self.direction not in get_args(Direction):
            allowed = " or ".join(map(repr, get_args(Direction)))
            raise UserError(f"Study.direction: found {self.direction!r}; allowed is {allowed}; set one")

    @cached_property
    def tracker(self) -> Tracker:
        """Tracking store of the study; a relative SQLite path starts in the folder of the first call."""
        uri = self.tracking_uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI
        if uri.startswith(_RELATIVE_SQLITE) and not uri.startswith(f"{_RELATIVE_SQLITE}/"):
            uri = uri.replace(_RELATIVE_SQLITE, f"{_RELATIVE_SQLITE}{Path.cwd()}/", 1)
        location = self.artifact_location
        if location is None and is_database(uri):
            database = find_sqlite_path(uri)
            location = ((database.parent if database else Path.cwd()) / "mlartifacts").as_uri()
        return Tracker(uri, location, warn, safe=_SAFE)

    @cached_property
    def data_fingerprint(self) -> str:
        """Fingerprint of the content of the data, taken once."""
        if isinstance(self.data, str):
            files = {"version": digest_json(self.data)}
        else:
            files = {role: _digest(role, Path(path)) for role, path in self.data.items()}
        return compute_data_fingerprint(files=files, label_map={}, split={})

    def identify(self, backbone: str) -> StudyIdentity:
        """Compute the keys of one backbone's study."""
        eval_fingerprint = compute_eval_fingerprint(
            metric=self.metric, options=_plain_all(self.evaluation), evaluator=_OWN_CODE
        )
        search = {
            "study": self.name,
            "settings": _plain_all(self.settings),
            "objective": {"metric": self.metric, "direction": self.direction},
        }
        folder = self.pretrained.get(backbone)
        return StudyIdentity(
            backbone=backbone,
            study_key_hash=build_study_key_hash(
                backbone=backbone,
                backbone_digest="" if folder is None else digest_folder(Path(folder)),
                data_fingerprint=self.data_fingerprint,
                eval_fingerprint=eval_fingerprint,
                search=search,
            ),
            study_family_hash=build_study_family_hash(
                data_fingerprint=self.data_fingerprint, eval_fingerprint=eval_fingerprint, search=search
            ),
            data_fingerprint=self.data_fingerprint,
            eval_fingerprint=eval_fingerprint,
            metric=self.metric,
            direction=self.direction,
        )


@dataclass(frozen=True)
class LoggedTrial:
    """One hyper-parameter setting of a study, as the tracking store has it.

    Attributes:
        run_id: Run of the trial.
        metric: Value of the study's metric; it may be infinite or NaN.
    """

    study: Study
    backbone: str
    run_id: str
    sweep_run_id: str
    trial_key_hash: str
    params: Mapping[str, Any]
    metric: float


def log_trial(
    study: Study,
    backbone: str,
    *,
    params: Mapping[str, Any],
    metrics: Mapping[str, float] | None = None,
    folds: Sequence[float] = (),
    number: int | None = None,
) -> LoggedTrial:
    """Log one trained hyper-parameter setting.

    Args:
        study: Study of the trial.
        backbone: Name of the pretrained model family; bakeoff selects one champion of each.
        params: Hyper-parameters of the setting. Name those that you search.
        metrics: Metrics on the evaluation data, with the study's metric among them. With ``folds`` it may be
            missing, and their mean counts.
        folds: Value of the study's metric for each fold of a cross-validation.
        number: Number of the trial in the study; None takes the next one.

    Raises:
        DataError: A file of ``study.data`` is missing.
        TrackingError: The tracking store does not answer.
        UserError: The study's metric is missing, or a value is not a number.
    """
    given = {name: _number(f"metrics[{name!r}]", value) for name, value in (metrics or {}).items()}
    values = [_number(f"folds[{n}]", value) for n, value in enumerate(folds)]
    if study.metric not in given and not values:
        found = ", ".join(map(repr, given)) or "none"
        raise UserError(
            f"log_trial: metrics: found {found}; the study optimises {study.metric!r}; add it, or give folds"
        )
    score = given.pop(study.metric) if study.metric in given else fmean(values)
    with _logging(study, backbone) as opened:
        number = next(opened.numbers) if number is None else number
        setting = _plain_all(params)
        run_id = opened.recorder.start_trial(number, setting)
        opened.recorder.score_trial(number, score, values, given)
        opened.recorder.close_trial(number, COMPLETE)
        return LoggedTrial(
            study=study,
            backbone=backbone,
            run_id=run_id,
            sweep_run_id=opened.recorder.sweep_run_id,
            trial_key_hash=build_trial_key_hash(opened.study_key_hash, setting),
            params=dict(params),
            metric=score,
        )


def log_pruned_trial(
    study: Study,
    backbone: str,
    *,
    params: Mapping[str, Any],
    values: Sequence[float],
    number: int | None = None,
) -> None:
    """Log a setting whose training you stopped early; it cannot become a champion.

    Args:
        study: Study of the trial.
        backbone: Name of the pretrained model family.
        params: Hyper-parameters of the setting.
        values: Value of the study's metric after each epoch until the stop.
        number: Number of the trial in the study; None takes the next one.

    Raises:
        DataError: A file of ``study.data`` is missing.
        TrackingError: The tracking store does not answer.
        UserError: A value is not a number.
    """
    reported = [_number(f"values[{n}]", value) for n, value in enumerate(values)]
    with _logging(study, backbone) as opened:
        number = next(opened.numbers) if number is None else number
        opened.recorder.start_trial(number, _plain_all(params))
        opened.recorder.prune_trial(number, reported)


def log_failed_trial(
    study: Study, backbone: str, *, params: Mapping[str, Any], reason: str, number: int | None = None
) -> None:
    """Log a setting whose training failed; it cannot become a champion.

    Args:
        study: Study of the trial.
        backbone: Name of the pretrained model family.
        params: Hyper-parameters of the setting.
        reason: Reason of the failure, such as the text of the error.
        number: Number of the trial in the study; None takes the next one.

    Raises:
        DataError: A file of ``study.data`` is missing.
        TrackingError: The tracking store does not answer.
    """
    with _logging(study, backbone) as opened:
        number = next(opened.numbers) if number is None else number
        opened.recorder.start_trial(number, _plain_all(params))
        opened.recorder.fail_trial(number, reason, is_retried=False)


def log_refit(
    of: LoggedTrial,
    model_folder: AnyPath,
    *,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, Any] | None = None,
) -> str:
    """Log the model of a trial's setting that you trained once more, on all training data.

    Args:
        of: Trial whose setting was trained.
        model_folder: Folder that ``save_pretrained`` wrote, for model and tokenizer; or an MLflow model, as
            ``mlflow.sklearn.save_model`` writes it.
        metrics: Metrics on the documents of bakeoff's ``data.test``, each logged as ``test_NAME``. bakeoff
            compares the study's metric among them with the quality that it measures.
        params: Settings of this training besides those of the trial, such as its epochs.

    Returns:
        Run id of the refit.

    Raises:
        CheckpointError: The folder does not hold a model that bakeoff reads.
        TrackingError: The tracking store does not answer.
    """
    folder = Path(model_folder)
    if (folder / MLMODEL_FILE).is_file():
        open_row_model(folder)
    else:
        open_checkpoint(folder)
    digest = digest_folder(folder)
    values = {name: _number(f"metrics[{name!r}]", value) for name, value in (metrics or {}).items()}
    with _logging(of.study, of.backbone) as opened:
        run_id = opened.recorder.start_refit(
            trial_run_id=of.run_id, trial_key_hash=of.trial_key_hash, sweep_run_id=of.sweep_run_id
        )
        try:
            opened.recorder.finish_refit(
                run_id,
                params=_plain_all({**of.params, **(params or {})}),
                metrics=values,
                checkpoint=folder,
                checkpoint_digest=digest,
            )
        except BaseException as error:
            with suppress(TrackingError):
                opened.recorder.fail_refit(run_id, str(error))
            raise
    return run_id


def find_best(study: Study, backbone: str) -> LoggedTrial:
    """Find the best trial of a backbone, of this process or any other: the one to refit.

    Raises:
        TrackingError: The tracking store does not answer.
        UserError: The study has no finished trial with a finite metric.
    """
    _require_backbone(backbone)
    with _turn, borrowing_process():
        identity = study.identify(backbone)
        experiment_id = study.tracker.find_experiment(study.experiment)
        found = reading.read_sweep(
            study.tracker,
            {experiment_id: study.experiment} if experiment_id else {},
            load_layout(OWN_LAYOUT, Path()),
            study.metric,
            {tags.STUDY_KEY_HASH: identity.study_key_hash},
        )
    try:
        best = find_best_trial(found.trials, study.direction)
    except ValueError:
        raise UserError(
            f"study {study.name!r}: found no finished trial of {backbone!r} with a finite "
            f"{study.metric}; log one with log_trial"
        ) from None
    return LoggedTrial(
        study=study,
        backbone=backbone,
        run_id=best.run_id,
        sweep_run_id=best.sweep_run_id,
        trial_key_hash=best.trial_key_hash,
        params=_read_params(best),
        metric=best.metric or 0.0,
    )


@contextmanager
def _logging(study: Study, backbone: str) -> Iterator[_OpenStudy]:
    """Open the sweep run of a backbone at the first call; close the runs of trials that an error leaves."""
    _require_backbone(backbone)
    with _turn, borrowing_process():
        opened = study._open.get(backbone) or _open_study(study, backbone)
        study._open[backbone] = opened
        try:
            yield opened
        except BaseException:
            with suppress(TrackingError):  # the error that ended the work says more
                opened.recorder.abandon_trials()
            raise


def _require_backbone(backbone: str) -> None:
    if not backbone:
        raise UserError("backbone: found an empty text; name the model family")


def _open_study(study: Study, backbone: str) -> _OpenStudy:
    """Join the sweep run of the study, or make it."""
    identity = study.identify(backbone)
    experiment_id = study.tracker.ensure_experiment(study.experiment)
    earlier = find_sweeps(study.tracker, experiment_id, identity.study_key_hash)
    recorder = SweepRecorder(study.tracker, experiment_id, identity, earlier[-1][0] if earlier else None)
    if not earlier:
        study.tracker.log(recorder.sweep_run_id, params={"study": study.name})
        # Your loop does not say when it ends. The run only holds those of the trials.
        recorder.finish_sweep()
    first = find_next_number(study.tracker, experiment_id, identity.study_key_hash) if earlier else 0
    return _OpenStudy(recorder, identity.study_key_hash, itertools.count(first))


def _digest(role: str, path: Path) -> str:
    if not path.exists():
        raise DataError(f"Study.data[{role!r}]", found=f"no file {str(path)!r}", expected="a file or folder")
    if path.is_dir() and not (path / _DATASETS_STATE).is_file():
        return digest_folder(path)
    return digest_data(path)


def _number(place: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"{place}: found {value!r}; expected a number; log its value") from None


def _plain_all(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Return a value as canonical JSON can hold it; numbers of NumPy and PyTorch become Python's."""
    if callable(getattr(value, "item", None)):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < _MOST_EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


def _read_params(trial: Trial) -> Mapping[str, Any]:
    """Read params, which the tracking store keeps as text, as the values that the trial's key was made of."""
    typed = {name: _evaluate(text) for name, text in trial.params.items()}
    is_sure = build_trial_key_hash(trial.study_key_hash, _plain_all(typed)) == trial.trial_key_hash
    return typed if is_sure else dict(trial.params)


def _evaluate(text: str) -> Any:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return found if found is None or isinstance(found, bool | int | float | str) else text
