"""Requests to the training process, and its answers; they travel as pickles through a private pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bakeoff.errors import BakeoffError
from bakeoff.run.training.trainer import TrainingOrder, TrainingOutcome


@dataclass(frozen=True)
class LoadTrainer:
    """Request to import a trainer."""

    trainer: str


@dataclass(frozen=True)
class Train:
    """Request to train; ``is_judged`` asks for a report after every epoch."""

    trainer: str
    order: TrainingOrder
    is_judged: bool


@dataclass(frozen=True)
class Loaded:
    """Answer about a trainer: whether it can report."""

    can_report: bool


@dataclass(frozen=True)
class Reported:
    """Metrics after an epoch; the process waits for True, continue, or False, stop."""

    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Trained:
    """Answer after a training; None if it was stopped."""

    outcome: TrainingOutcome | None


@dataclass(frozen=True)
class Broke:
    """Answer after an error."""

    error: BakeoffError
