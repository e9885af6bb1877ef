"""The search of a study in Optuna's terms: its space, its sampler, its pruner."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from bakeoff.core.config.pruners import AshaPruner, MedianPruner, Pruner
from bakeoff.core.config.search_space import Choice, Distribution, FloatRange
from bakeoff.core.config.settings import WorkerSettings
from bakeoff.measure.tasks.metrics import Direction
from bakeoff.record import Record

Params = Mapping[str, bool | int | float | str]


class StudyPlan(Record):
    """Settings of a study for Optuna.

    Attributes:
        storage: URL of Optuna's storage.
        n_trials: Number of trials of the study; retries do not count.
        seed: Seed of the study; with a trial's number it gives the seed of the trial's draw.
    """

    storage: str
    direction: Direction
    search_space: Mapping[str, Distribution]
    n_trials: int
    seed: int
    pruner: Pruner | None = None
    workers: WorkerSettings = WorkerSettings()


def make_sampler(optuna: Any, seed: int, number: int) -> Any:
    """Make the sampler of one trial; its draw depends on earlier trials, not on the worker that runs it."""
    return optuna.samplers.TPESampler(seed=derive_seed(seed, number), constant_liar=True)


def derive_seed(seed: int, number: int) -> int:
    """Derive the seed of one trial's draw: the same on every machine and worker."""
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def make_pruner(optuna: Any, pruner: Pruner | None) -> Any:
    """Make Optuna's pruner from these settings."""
    match pruner:
        case MedianPruner():
            return optuna.pruners.MedianPruner(**pruner.model_dump(exclude={"kind"}))
        case AshaPruner():
            return optuna.pruners.SuccessiveHalvingPruner(**pruner.model_dump(exclude={"kind"}))
        case None:
            return optuna.pruners.NopPruner()


def suggest(trial: Any, name: str, space: Distribution) -> bool | int | float | str:
    """Draw one hyper-parameter; keep a value that the trial already has."""
    value: bool | int | float | str
    if isinstance(space, Choice):
        value = trial.suggest_categorical(name, list(space.choices))
    elif isinstance(space, FloatRange):
        value = trial.suggest_float(name, space.low, space.high, log=space.log)
    else:
        value = trial.suggest_int(name, space.low, space.high, log=space.log)
    return value
