"""Pruners: which trial is given up early; names and defaults are Optuna's."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bakeoff.record import Record


class MedianPruner(Record):
    """Give up a trial whose best epoch so far is worse than the median of the finished trials at this epoch.

    Attributes:
        n_startup_trials: Nothing is pruned before so many trials are finished.
        n_warmup_steps: Nothing is pruned before this epoch; the first one is epoch 1.
        interval_steps: Epochs between two looks.
        n_min_trials: Nothing is pruned at an epoch that fewer finished trials reached.
    """

    kind: Literal["median"]
    n_startup_trials: Annotated[int, Field(ge=0)] = 5
    n_warmup_steps: Annotated[int, Field(ge=0)] = 0
    interval_steps: Annotated[int, Field(ge=1)] = 1
    n_min_trials: Annotated[int, Field(ge=1)] = 1


class AshaPruner(Record):
    """Asynchronous successive halving: at each rung only the best share of the trials goes on.

    Attributes:
        min_resource: Epochs of the first rung; ``auto`` takes a hundredth of what finished trials needed.
        reduction_factor: One of so many goes on, and the next rung is so many times as high.
        min_early_stopping_rate: The first rung is raised by this power of the factor.
        bootstrap_count: So many trials must reach a rung before one of them goes on; not with ``auto``.
    """

    kind: Literal["asha"]
    min_resource: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    reduction_factor: Annotated[int, Field(ge=2)] = 4
    min_early_stopping_rate: Annotated[int, Field(ge=0)] = 0
    bootstrap_count: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _auto_has_no_bootstrap(self) -> Self:
        if self.min_resource == "auto" and self.bootstrap_count:
            raise ValueError("bootstrap_count needs a number in min_resource, not auto")
        return self


Pruner = Annotated[MedianPruner | AshaPruner, Field(discriminator="kind")]
