"""Callback for Optuna: each trial of a study as a trial of bakeoff."""

from __future__ import annotations

from typing import Any

from bakeoff.errors import UserError
from bakeoff.integrations.sweeps import LoggedTrial, Study, log_failed_trial, log_pruned_trial, log_trial


class OptunaCallback:
    """Logs each trial when it ends; give it to ``study.optimize(objective, callbacks=[…])``.

    An objective with cross-validation sets the user attribute ``folds`` to the value of each fold. Other user
    attributes that are numbers are logged as metrics. Pruned trials are logged with their reported values.

    Args:
        study: Study of bakeoff that gets the trials.
        backbone: Name of the model family that the objective trains; None reads the param or user attribute
            ``backbone`` of each trial.

    Attributes:
        trials: Completed trials of this process, by Optuna's number.
    """

    def __init__(self, study: Study, backbone: str | None = None) -> None:
        self._study = study
        self._backbone = backbone
        self.trials: dict[int, LoggedTrial] = {}

    def __call__(self, study: Any, trial: Any) -> None:
        """Log one ended trial.

        Args:
            study: Study of Optuna.
            trial: Its ``FrozenTrial``.
        """
        self._check(study)
        attributes, params = dict(trial.user_attrs), dict(trial.params)
        backbone = self._backbone or params.pop("backbone", None) or attributes.pop("backbone", None)
        if not backbone:
            raise UserError(
                f"OptunaCallback: trial {trial.number} has no param or user attribute 'backbone'; set one, "
                "or give the callback a backbone"
            )
        state, number = trial.state.name, trial.number
        if state == "COMPLETE":
            folds = attributes.pop("folds", ())
            metrics = {
                name: value
                for name, value in attributes.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
            self.trials[number] = log_trial(
                self._study,
                str(backbone),
                params=params,
                metrics={**metrics, self._study.metric: trial.value},
                folds=folds,
                number=number,
            )
        elif state == "PRUNED":
            values = [value for _, value in sorted(trial.intermediate_values.items())]
            log_pruned_trial(self._study, str(backbone), params=params, values=values, number=number)
        elif state == "FAIL":
            log_failed_trial(
                self._study, str(backbone), params=params, reason="the objective failed", number=number
            )

    def _check(self, study: Any) -> None:
        directions = [direction.name.lower() for direction in study.directions]
        if directions != [self._study.direction]:
            raise UserError(
                f"OptunaCallback: found directions {', '.join(directions)}; the study of bakeoff has one, "
                f"{self._study.direction}; correct Study.direction, or create_study(direction=…)"
            )
