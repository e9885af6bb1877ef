"""Pruners: rules that stop a trial early. Names and defaults are Optuna's."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bakeoff.record import Record


class MedianPruner(Record):
    """Rule that stops a trial if its best epoch so far is worse than the median of finished trials there.

    Attributes:
        n_startup_trials: Number of finished trials before pruning starts.
        n_warmup_steps: First epoch at which a trial may be stopped; epochs count from 1.
        interval_steps: Epochs between two checks.
        n_min_trials: Minimum number of finished trials that reached an epoch; below it, no trial stops there.
    """

    kind: Literal["median"]
    n_startup_trials: Annotated[int, Field(ge=0)] = 5
    n_warmup_steps: Annotated[int, Field(ge=0)] = 0
    interval_steps: Annotated[int, Field(ge=1)] = 1
    n_min_trials: Annotated[int, Field(ge=1)] = 1


class AshaPruner(Record):
    """Asynchronous successive halving: only the best share of the trials continues past each rung.

    Attributes:
        min_resource: Epochs of the first rung; ``auto`` takes a hundredth of what finished trials needed.
        reduction_factor: One trial in this many continues, and the next rung is this many times as high.
        min_early_stopping_rate: Power of the factor by which the first rung is raised.
        bootstrap_count: Trials that must reach a rung before one of them continues; not with ``auto``.
    """

    kind: Literal["asha"]
    min_resource: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    reduction_factor: Annotated[int, Field(ge=2)] = 4
    min_early_stopping_rate: Annotated[int, Field(ge=0)] = 0
    bootstrap_count: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _auto_has_no_bootstrap(self) -> Self:
        if self.min_resource == "auto" and self.bootstrap_count:
            raise ValueError("bootstrap_count does not work with auto; set min_resource to a number")
        return self


Pruner = Annotated[MedianPruner | AshaPruner, Field(discriminator="kind")]
