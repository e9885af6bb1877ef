"""Trainer: the interface that turns one hyper-parameter setting into a model."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from bakeoff.errors import ConfigError
from bakeoff.measure.model.user_code import find_user_code
from bakeoff.measure.tasks import Document, Task, TokenClassification
from bakeoff.record import AbsolutePath, Record

_OURS = "bakeoff."


class TrainingOrder(Record):
    """One training to do.

    Attributes:
        pretrained: Folder of the backbone.
        task: What the model learns.
        labels: Label of each output.
        train: Documents to learn from.
        evaluation: Documents to be judged on.
        hyper_parameters: Searched and fixed hyper-parameters; a trainer refuses unknown names.
        max_length: Number of tokens after which a document is cut.
        seed: Seed of everything random.
        checkpoint: Folder to save the model and tokenizer to; None saves nothing.
    """

    pretrained: AbsolutePath
    task: Task = TokenClassification()
    labels: tuple[str, ...]
    train: tuple[Document, ...]
    evaluation: tuple[Document, ...]
    hyper_parameters: Mapping[str, bool | int | float | str]
    max_length: int
    seed: int
    checkpoint: AbsolutePath | None = None


class TrainingOutcome(Record):
    """Result of a training.

    Attributes:
        metrics: Metrics by name, with the objective of the sweep among them.
        epoch_losses: Mean training loss of each epoch.
        n_truncated: Number of training and evaluation documents that were cut.
        token_limit: Number of tokens after which they were cut.
    """

    model_config = Record.model_config | {"allow_inf_nan": True}

    metrics: Mapping[str, float]
    epoch_losses: tuple[float, ...] = ()
    n_truncated: int = 0
    token_limit: int = 0


Report = Callable[[Mapping[str, float]], None]
"""Gets the metrics after an epoch, and raises ``TrainingStopped`` to end the training."""


class TrainingStopped(Exception):  # noqa: N818 - an order, not an error
    """The pruner ends this training; a trainer must not catch it."""


class Trainer(Protocol):
    """Trains one setting; name your own as ``package.module:name`` in ``hpo.trainer``."""

    def train(self, order: TrainingOrder) -> TrainingOutcome:
        """Train, evaluate, and save if ``order.checkpoint`` names a folder.

        Contract: the same order gives the same outcome on the same machine, and the trainer applies or
        refuses every hyper-parameter.

        Raises:
            ConfigError: A hyper-parameter is unknown or cannot be applied to this backbone.
        """
        ...


class ReportingTrainer(Protocol):
    """A trainer that can be stopped early: its ``train`` takes a ``report``."""

    def train(self, order: TrainingOrder, *, report: Report | None = None) -> TrainingOutcome:
        """Train as a trainer does, and report the metrics on the evaluation documents after every epoch.

        Contract: a report that never stops the training does not change its outcome.

        Args:
            order: The training to do.
            report: Called once an epoch; None means that only the last evaluation is needed.

        Raises:
            TrainingStopped: Raised by ``report``.
        """
        ...


def can_report(trainer: Trainer) -> bool:
    """Return whether a trainer can report its metrics after every epoch."""
    return "report" in inspect.signature(trainer.train).parameters


def is_built_in(name: str) -> bool:
    """Return whether a trainer is part of bakeoff, and no code of a user."""
    return name.startswith(_OURS)


def load_trainer(name: str) -> Trainer:
    """Import a trainer class and construct it without arguments."""
    module, _, attribute = name.partition(":")
    if not is_built_in(name):
        find_user_code()
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError([f"hpo.trainer: {name!r} cannot be used: {error}"]) from error
    if not callable(getattr(made, "train", None)):
        raise ConfigError([f"hpo.trainer: {name!r} has no train(order) method"])
    trainer: Trainer = made
    return trainer


def run_training(trainer: str, order: TrainingOrder, report: Report | None = None) -> TrainingOutcome:
    """Carry out an order with the named trainer, in a training process."""
    loaded = load_trainer(trainer)
    if report is None or not can_report(loaded):
        return loaded.train(order)
    return cast("ReportingTrainer", loaded).train(order, report=report)
