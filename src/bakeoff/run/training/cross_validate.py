"""The sweep: Optuna asks, the trainer answers fold by fold, and every step is an event to be recorded."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from bakeoff.errors import BakeoffError, ConfigError, StudyError, WorkerError
from bakeoff.measure.tasks.token_classification import Document
from bakeoff.record import Record
from bakeoff.run.training.process import TrainingProcess
from bakeoff.run.training.search import Params
from bakeoff.run.training.study import SharedStudy, TrialClaim
from bakeoff.run.training.trainer import TrainingOrder, TrainingOutcome

LOOK_S = 2.0


class TrainingPlan(Record):
    """How the trials of a study are trained and judged.

    Attributes:
        documents: Of the search; split into folds here.
        fixed: Hyper-parameters that are not searched.
        seed: Of the folds and the trainings.
    """

    pretrained: Path
    labels: tuple[str, ...]
    documents: tuple[Document, ...]
    trainer: str
    metric: str
    fixed: Params
    folds: int
    max_length: int
    seed: int


class TrialStarted(Record):
    """Parameters were drawn.

    Attributes:
        retry_of: Number of the trial whose parameters are tried again.
    """

    number: int
    params: Params
    retry_of: int | None = None


class FoldFinished(Record):
    """One fold of a trial is judged.

    Attributes:
        epochs: The metric after each epoch, where a pruner looked at them.
    """

    model_config = Record.model_config | {"allow_inf_nan": True}

    number: int
    fold: int
    outcome: TrainingOutcome
    epochs: tuple[float, ...] = ()


class TrialFinished(Record):
    """All folds of a trial are judged; Optuna hears of it after this event was taken."""

    model_config = Record.model_config | {"allow_inf_nan": True}

    number: int
    metric: float
    fold_metrics: tuple[float, ...]


class TrialClosed(Record):
    """Optuna has heard of a trial that finished; it fails those whose metric is no finite number."""

    number: int
    state: Literal["COMPLETE", "FAIL"]


class TrialPruned(Record):
    """A trial was given up early.

    Attributes:
        epochs: The metric after each epoch that was trained.
    """

    model_config = Record.model_config | {"allow_inf_nan": True}

    number: int
    epochs: tuple[float, ...]


class TrialFailed(Record):
    """A training broke, or its process fell silent.

    Attributes:
        is_retried: Whether its parameters wait to be tried again.
    """

    number: int
    reason: str
    is_retried: bool


Event = TrialStarted | FoldFinished | TrialFinished | TrialClosed | TrialPruned | TrialFailed


class _TakenError(Exception):
    """Others took our trial for that of a dead process."""


def run_study(
    plan: TrainingPlan,
    study: SharedStudy,
    process: TrainingProcess,
    on_wait: Callable[[int], None] = lambda _: None,
) -> Generator[Event, None, None]:
    """Run trials until the study has as many as it shall have, together with whoever else runs some.

    Close the generator where it is left early: that gives the trial that is under way back to the study.

    Args:
        plan: Of the trainings.
        study: Laid out or joined.
        process: In which trainings run, one at a time.
        on_wait: Told once how many trials of others it waits for; one of theirs may have to be tried again.

    Raises:
        ConfigError: The trainer does not return the objective's metric.
        StudyError: The study's storage does not answer; what is finished is kept.
        WorkerError: The training broke or its process was killed; what is finished is kept.
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
            raise  # the trial falls silent, and whoever reaches the storage tries it again
        except BakeoffError as error:
            # What the user has to mend costs no retry: it would fail again until then.
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
    """Hands the epochs of a training to the study's pruner.

    Attributes:
        epochs: The metric after each of them.
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
        labels=plan.labels,
        train=tuple(plan.documents[row] for row in train),
        evaluation=tuple(plan.documents[row] for row in evaluation),
        hyper_parameters={**plan.fixed, **params},
        max_length=plan.max_length,
        seed=plan.seed,
    )
