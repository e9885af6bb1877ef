"""Trainer: the seam by which one hyper-parameter setting becomes a model."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, cast

from bakeoff.errors import ConfigError
from bakeoff.measure.tasks.token_classification import Document
from bakeoff.record import Record


class TrainingOrder(Record):
    """What a trainer is asked to do.

    Attributes:
        pretrained: Folder of the backbone.
        labels: The tag of each output.
        train: Documents to learn from.
        evaluation: Documents to be judged on.
        hyper_parameters: Searched and fixed ones together; a trainer refuses names that it does not know.
        max_length: Tokens after which a document is cut.
        seed: Of everything random.
        checkpoint: Folder to save the model and tokenizer to; None saves nothing.
    """

    pretrained: Path
    labels: tuple[str, ...]
    train: tuple[Document, ...]
    evaluation: tuple[Document, ...]
    hyper_parameters: Mapping[str, bool | int | float | str]
    max_length: int
    seed: int
    checkpoint: Path | None = None


class TrainingOutcome(Record):
    """What came of it.

    Attributes:
        metrics: By name; the objective of the sweep must be among them.
        epoch_losses: Mean training loss of each epoch.
        n_truncated: Documents of which words were cut off, of both parts.
        token_limit: Where they were cut.
    """

    model_config = Record.model_config | {"allow_inf_nan": True}

    metrics: Mapping[str, float]
    epoch_losses: tuple[float, ...] = ()
    n_truncated: int = 0
    token_limit: int = 0


Report = Callable[[Mapping[str, float]], None]
"""Told the metrics after an epoch; raises ``TrainingStopped`` where the training shall go no further."""


class TrainingStopped(Exception):  # noqa: N818 - an order, not an error
    """The study has seen enough of this training; a trainer lets it pass."""


class Trainer(Protocol):
    """Trains one setting; bring your own as ``package.module:name`` in ``hpo.trainer``."""

    def train(self, order: TrainingOrder) -> TrainingOutcome:
        """Train, evaluate, and save if asked to.

        Promise: the same order gives the same outcome on the same machine, and every hyper-parameter is
        applied or refused.

        Raises:
            ConfigError: A hyper-parameter is unknown or cannot be applied to this backbone.
        """
        ...


class ReportingTrainer(Protocol):
    """A trainer that can be stopped early: its ``train`` takes a ``report``."""

    def train(self, order: TrainingOrder, *, report: Report | None = None) -> TrainingOutcome:
        """Train as a trainer does, and tell the metrics on the evaluation documents after every epoch.

        Promise: the outcome is the same with a report that never stops it as without one.

        Args:
            order: What to do.
            report: To be called once an epoch; None asks for no evaluation but the last.

        Raises:
            TrainingStopped: By ``report``.
        """
        ...


def can_report(trainer: Trainer) -> bool:
    """Whether a trainer can tell its metrics after every epoch."""
    return "report" in inspect.signature(trainer.train).parameters


def load_trainer(name: str) -> Trainer:
    """Import a trainer and make one, without arguments.

    Raises:
        ConfigError: There is no such module or class, or it has no ``train``.
    """
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError([f"hpo.trainer: {name!r} cannot be used: {error}"]) from error
    if not callable(getattr(made, "train", None)):
        raise ConfigError([f"hpo.trainer: {name!r} has no train(order) method"])
    trainer: Trainer = made
    return trainer


def run_training(trainer: str, order: TrainingOrder, report: Report | None = None) -> TrainingOutcome:
    """Carry out an order with the named trainer; what a training process executes.

    Raises:
        TrainingStopped: The report stopped it.
    """
    loaded = load_trainer(trainer)
    if report is None or not can_report(loaded):
        return loaded.train(order)
    return cast("ReportingTrainer", loaded).train(order, report=report)
