"""Trials of a sweep: Optuna draws, the trainer trains fold by fold, and each step is an event to record."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from bakeoff.errors import BakeoffError, ConfigError, StudyError, WorkerError
from bakeoff.measure.tasks import Document, Task
from bakeoff.record import Record
from bakeoff.run.training.process import TrainingProcess
from bakeoff.run.training.search import Params
from bakeoff.run.training.study import SharedStudy, TrialClaim
from bakeoff.run.training.trainer import TrainingOrder, TrainingOutcome

LOOK_S = 2.0


class TrainingPlan(Record):
    """Settings by which the trials of a study are trained and judged.

    Attributes:
        documents: Documents of the search, before the split into folds.
        fixed: Hyper-parameters that are not searched.
        seed: Seed of the folds and the trainings.
    """

    pretrained: Path
    task: Task
    labels: tuple[str, ...]
    documents: tuple[Document, ...]
    trainer: str
    metric: str
    fixed: Params
    folds: int
    max_length: int
    seed: int


class TrialStarted(Record):
    """Event: parameters were drawn.

    Attributes:
        retry_of: Number of an earlier trial with these parameters, if this is a retry.
    """

    number: int
    params: Params
    retry_of: int | None = None


class FoldFinished(Record):
    """Event: one fold of a trial is judged.

    Attributes:
        epochs: Metric after each epoch, if a pruner looked at it.
    """

    model_config = Record.model_config | {"allow_inf_nan": True}

    number: int
    fold: int
    outcome: TrainingOutcome
    epochs: tuple[float, ...] = ()


class TrialFinished(Record):
    """Event: all folds of a trial are judged; Optuna gets the metric after the consumer took this event."""

    model_config = Record.model_config | {"allow_inf_nan": True}

    number: int
    metric: float
    fold_metrics: tuple[float, ...]


class TrialClosed(Record):
    """Event: Optuna has the end of a finished trial; it fails trials without a finite metric."""

    number: int
    state: Literal["COMPLETE", "FAIL"]


class TrialPruned(Record):
    """Event: the pruner ended a trial early.

    Attributes:
        epochs: Metric after each trained epoch.
    """

    model_config = Record.model_config | {"allow_inf_nan": True}

    number: int
    epochs: tuple[float, ...]


class TrialFailed(Record):
    """Event: a training broke, or its process fell silent.

    Attributes:
        is_retried: Whether its parameters wait for another try.
    """

    number: int
    reason: str
    is_retried: bool


Event = TrialStarted | FoldFinished | TrialFinished | TrialClosed | TrialPruned | TrialFailed


class _TakenError(Exception):
    """Another process took our trial for that of a dead one."""


def run_study(
    plan: TrainingPlan,
    study: SharedStudy,
    process: TrainingProcess,
    on_wait: Callable[[int], None] = lambda _: None,
) -> Generator[Event, None, None]:
    """Run trials until the study is complete, together with its other workers.

    Close the generator after an early exit: that returns the current trial to the study. After any error,
    finished trials are kept.

    Args:
        plan: Settings of the trainings.
        study: Study that is laid out or joined.
        process: Process in which trainings run, one at a time.
        on_wait: Called once with the number of trials of other workers that it waits for; one of these may
            need another try.

    Raises:
        ConfigError: The trainer does not return the objective's metric.
    """
    folds = split_folds(len(plan.documents), plan.folds, plan.seed)
    is_waiting = False
    while True:
        for lost in study.reap():
            silence = f"its process was silent for {study.plan.workers.grace_s} s"
            yield TrialFailed(number=lost.number, reason=silence, is_retried=lost.is_retried)
        claim = study.claim()
        if claim is not None:
            yield from _run_trial(plan, study, claim, process, folds)
            continue
        n_open = study.count("WAITING", "RUNNING")
        if n_open == 0:
            return
        if not is_waiting:
            on_wait(n_open)
            is_waiting = True
        time.sleep(min(LOOK_S, study.plan.workers.heartbeat_interval_s))


def split_folds(n: int, folds: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Split rows into folds: pairs of rows to train on and rows to judge by; every row is judged once.

    Args:
        n: Number of rows.
        folds: Number of folds, at least 2.
        seed: Seed of the shuffling.
    """
    order = list(range(n))
    random.Random(seed).shuffle(order)  # noqa: S311 - an order, not a secret
    parts = [sorted(order[start::folds]) for start in range(folds)]
    return [(sorted(set(order).difference(part)), part) for part in parts]


def _run_trial(
    plan: TrainingPlan,
    study: SharedStudy,
    claim: TrialClaim,
    process: TrainingProcess,
    folds: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> Iterator[Event]:
    with claim.alive():
        try:
            yield TrialStarted(number=claim.number, params=claim.params, retry_of=claim.retry_of)
            yield from _train_folds(plan, study, claim, process, folds)
        except _TakenError:
            yield _taken(study, claim)
        except StudyError:
            raise  # the trial falls silent, and a worker that reaches the storage tries it again
        except BakeoffError as error:
            # A fault that the user must fix costs no retry: it would fail again until then.
            is_retried = claim.give_back(is_counted=isinstance(error, WorkerError))
            yield TrialFailed(number=claim.number, reason=str(error), is_retried=is_retried)
            raise
        except BaseException:
            with suppress(StudyError):
                claim.give_back(is_counted=False)
            raise


def _train_folds(
    plan: TrainingPlan,
    study: SharedStudy,
    claim: TrialClaim,
    process: TrainingProcess,
    folds: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> Iterator[Event]:
    scores: list[float] = []
    for fold, (train, evaluation) in enumerate(folds):
        if not claim.is_ours():
            raise _TakenError
        order = _fold_order(plan, claim.params, train, evaluation)
        judge = _Judge(plan, claim)
        outcome: TrainingOutcome | None
        if fold == 0 and study.plan.pruner is not None:
            outcome = process.train_judged(plan.trainer, order, judge)
        else:
            outcome = process.train(plan.trainer, order)
        if outcome is None:
            if not claim.prune():
                raise _TakenError
            yield TrialPruned(number=claim.number, epochs=tuple(judge.epochs))
            return
        scores.append(_objective(plan, outcome.metrics))
        yield FoldFinished(number=claim.number, fold=fold, outcome=outcome, epochs=tuple(judge.epochs))
    metric = math.fsum(scores) / len(scores)
    yield TrialFinished(number=claim.number, metric=metric, fold_metrics=tuple(scores))
    is_finite = math.isfinite(metric)
    if not (claim.complete(metric) if is_finite else claim.fail()):
        raise _TakenError
    yield TrialClosed(number=claim.number, state="COMPLETE" if is_finite else "FAIL")


class _Judge:
    """Passes the epochs of a training to the study's pruner.

    Attributes:
        epochs: Metric after each epoch.
    """

    def __init__(self, plan: TrainingPlan, claim: TrialClaim) -> None:
        self._plan = plan
        self._claim = claim
        self.epochs: list[float] = []

    def __call__(self, metrics: Mapping[str, float]) -> bool:
        self.epochs.append(_objective(self._plan, metrics))
        return self._claim.goes_on(len(self.epochs), self.epochs[-1])


def _taken(study: SharedStudy, claim: TrialClaim) -> TrialFailed:
    return TrialFailed(
        number=claim.number,
        reason=f"its process was silent for {study.plan.workers.grace_s} s, and came back",
        is_retried=claim.number in study.retried(),
    )


def _objective(plan: TrainingPlan, metrics: Mapping[str, float]) -> float:
    if plan.metric not in metrics:
        returned = ", ".join(sorted(metrics)) or "none"
        raise ConfigError(
            [f"hpo.objective.metric: found {plan.metric!r}; {plan.trainer} returned the metrics {returned}"]
        )
    return metrics[plan.metric]


def _fold_order(
    plan: TrainingPlan, params: Params, train: Sequence[int], evaluation: Sequence[int]
) -> TrainingOrder:
    return TrainingOrder(
        pretrained=plan.pretrained,
        task=plan.task,
        labels=plan.labels,
        train=tuple(plan.documents[row] for row in train),
        evaluation=tuple(plan.documents[row] for row in evaluation),
        hyper_parameters={**plan.fixed, **params},
        max_length=plan.max_length,
        seed=plan.seed,
    )
