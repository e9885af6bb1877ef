"""The sweep: Optuna asks, the trainer answers fold by fold, and every step is an event to be recorded."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from bakeoff.core.records import Direction
from bakeoff.core.settings import Choice, Distribution, FloatRange
from bakeoff.errors import ConfigError, MissingExtraError, WorkerError
from bakeoff.measure.entities import Document
from bakeoff.record import Record
from bakeoff.run.trainer import TrainingOrder, TrainingOutcome, load_trainer, run_training

Params = Mapping[str, bool | int | float | str]


class StudySpec(Record):
    """One study: a backbone, its data, and the space to search.

    Attributes:
        name: In Optuna's storage.
        storage: URL of Optuna's storage.
        documents: Of the search; split into folds here.
        fixed: Hyper-parameters that are not searched.
    """

    name: str
    storage: str
    backbone: str
    pretrained: Path
    labels: tuple[str, ...]
    documents: tuple[Document, ...]
    trainer: str
    metric: str
    direction: Direction
    search_space: Mapping[str, Distribution]
    fixed: Params
    n_trials: int
    folds: int
    max_length: int
    seed: int


class TrialStarted(Record):
    """Parameters were drawn."""

    number: int
    params: Params


class FoldFinished(Record):
    """One fold of a trial is judged."""

    number: int
    fold: int
    outcome: TrainingOutcome


class TrialFinished(Record):
    """All folds of a trial are judged; Optuna hears of it after this event was taken."""

    model_config = Record.model_config | {"allow_inf_nan": True}

    number: int
    metric: float
    fold_metrics: tuple[float, ...]


class TrialFailed(Record):
    """A training broke; the study goes on."""

    number: int
    reason: str


Event = TrialStarted | FoldFinished | TrialFinished | TrialFailed


def run_study(spec: StudySpec, executor: Executor) -> Iterator[Event]:
    """Run trials until the study has as many as it shall have, in Optuna's count of finished ones.

    Args:
        spec: The study; one that exists in the storage is continued.
        executor: In which trainings run, one at a time.

    Raises:
        MissingExtraError: Optuna is not installed.
        ConfigError: The trainer does not return the objective's metric.
        WorkerError: The training process was killed; what is finished is kept.
    """
    study = _open_study(spec)
    folds = split_folds(len(spec.documents), spec.folds, spec.seed)
    while count_finished(study) < spec.n_trials:
        trial = study.ask()
        params = {name: _suggest(trial, name, space) for name, space in spec.search_space.items()}
        yield TrialStarted(number=trial.number, params=params)
        scores: list[float] = []
        try:
            for fold, (train, evaluation) in enumerate(folds):
                order = _fold_order(spec, params, train, evaluation)
                outcome = train_in(executor, spec.trainer, order)
                scores.append(_objective(spec, outcome))
                yield FoldFinished(number=trial.number, fold=fold, outcome=outcome)
        except (WorkerError, ConfigError) as error:
            yield TrialFailed(number=trial.number, reason=str(error))
            _tell(study, trial, None)
            raise
        metric = math.fsum(scores) / len(scores)
        yield TrialFinished(number=trial.number, metric=metric, fold_metrics=tuple(scores))
        _tell(study, trial, metric if math.isfinite(metric) else None)


def train_in(executor: Executor, trainer: str, order: TrainingOrder) -> TrainingOutcome:
    """Train in the executor's process.

    Raises:
        WorkerError: The process died.
    """
    try:
        return executor.submit(run_training, trainer, order).result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "the training process died", detail="killed from outside or out of memory; run the sweep again"
        ) from error


def check_trainer(executor: Executor, trainer: str) -> None:
    """Load a trainer in the executor's process, before any trial is begun that it would use up.

    Raises:
        ConfigError: It cannot be used.
        WorkerError: The process died.
    """
    try:
        executor.submit(load_trainer, trainer).result()
    except BrokenProcessPool as error:
        raise WorkerError(f"the process died while it loaded the trainer {trainer!r}") from error


def split_folds(n: int, folds: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Rows to train on and rows to judge by, for each fold; every row is judged once.

    Args:
        n: Rows.
        folds: At least 2.
        seed: Of the shuffling.
    """
    order = list(range(n))
    random.Random(seed).shuffle(order)  # noqa: S311 - an order, not a secret
    parts = [sorted(order[start::folds]) for start in range(folds)]
    return [(sorted(set(order).difference(part)), part) for part in parts]


def count_finished(study: Any) -> int:
    """Trials that came to an end, well or badly, as Optuna's own ``optimize`` counts them."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _open_study(spec: StudySpec) -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("the sweep", library="optuna", extra="hpo") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=spec.storage, study_name=spec.name, direction=spec.direction, load_if_exists=True
    )
    # Resumed with the same seed the sampler would draw the same first points again.
    study.sampler = optuna.samplers.TPESampler(seed=spec.seed + len(study.get_trials(deepcopy=False)))
    return study


def _suggest(trial: Any, name: str, space: Distribution) -> bool | int | float | str:
    value: bool | int | float | str
    if isinstance(space, Choice):
        value = trial.suggest_categorical(name, list(space.choices))
    elif isinstance(space, FloatRange):
        value = trial.suggest_float(name, space.low, space.high, log=space.log)
    else:
        value = trial.suggest_int(name, space.low, space.high, log=space.log)
    return value


def _tell(study: Any, trial: Any, metric: float | None) -> None:
    from optuna.trial import TrialState

    if metric is None:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, metric)


def _objective(spec: StudySpec, outcome: TrainingOutcome) -> float:
    if spec.metric not in outcome.metrics:
        returned = ", ".join(sorted(outcome.metrics)) or "none"
        raise ConfigError(
            [f"hpo.objective.metric: found {spec.metric!r}; {spec.trainer} returned the metrics {returned}"]
        )
    return outcome.metrics[spec.metric]


def _fold_order(
    spec: StudySpec, params: Params, train: Sequence[int], evaluation: Sequence[int]
) -> TrainingOrder:
    return TrainingOrder(
        pretrained=spec.pretrained,
        labels=spec.labels,
        train=tuple(spec.documents[row] for row in train),
        evaluation=tuple(spec.documents[row] for row in evaluation),
        hyper_parameters={**spec.fixed, **params},
        max_length=spec.max_length,
        seed=spec.seed,
    )
