"""Callbacks for the Hugging Face Trainer: one logs a training as a trial, one logs a refit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakeoff.errors import MissingExtraError, TrackingError, UserError
from bakeoff.integrations.sweeps import LoggedTrial, Study, log_refit, log_trial
from bakeoff.orchestrator.progress import warn

try:  # a callback must be one of transformers' own kind, so that this module needs it at once
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingExtraError(
        "bakeoff.integrations.transformers", library=error.name or "transformers", extra="torch"
    ) from error

_PREFIX = "eval_"
# Arguments of a training that people search; those that a training does not have do not count.
_SEARCHED = (
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "weight_decay",
    "warmup_steps",
    "warmup_ratio",
    "lr_scheduler_type",
    "label_smoothing_factor",
    "seed",
)


class BakeoffCallback(TrainerCallback):  # type: ignore[misc]
    """Logs a training as a trial when it ends, with the metric of the weights that it ends with.

    These are the weights of the best evaluation with ``load_best_model_at_end``, else of the last one.

    Args:
        study: Study of the trial. Its metric may be named as the Trainer does, or without ``eval_``.
        backbone: Name of the pretrained model family; None takes the last part of ``model.name_or_path``,
            else the type of the model.
        params: Hyper-parameters of the setting; None takes those of ``hyperparameter_search``, else the
            usual ones of the training arguments.

    Attributes:
        trial: Trial of the last training; None before its end, and in all processes but the first.
    """

    def __init__(
        self, study: Study, backbone: str | None = None, params: Mapping[str, Any] | None = None
    ) -> None:
        self._study = study
        self._backbone = backbone
        self._params = params
        self.trial: LoggedTrial | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Refuse a training that is never evaluated, before it takes its time."""
        self.trial = None
        if getattr(args.eval_strategy, "value", args.eval_strategy) == "no":
            raise UserError(
                f"TrainingArguments.eval_strategy: found 'no'; the study needs {self._study.metric!r} of an "
                "evaluation; set eval_strategy='epoch'"
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the trial, in the first process only."""
        if not state.is_world_process_zero:
            return
        metrics = _read_metrics(self._study.metric, args, state)
        if self._study.metric not in metrics:
            found = ", ".join(sorted(metrics)) or "none"
            raise UserError(
                f"BakeoffCallback: no evaluation has the metric {self._study.metric!r}; found {found}; "
                "return it from compute_metrics, or correct Study.metric"
            )
        self.trial = log_trial(
            self._study,
            self._backbone or _name_model(kwargs["model"]),
            params=self._params or state.trial_params or _read_arguments(args),
            metrics=metrics,
        )


class BakeoffRefitCallback(TrainerCallback):  # type: ignore[misc]
    """Logs the model of a training as the refit of a trial when it ends.

    Give the Trainer your tokenizer as ``processing_class``; the refit holds it too. No metric is logged,
    since the Trainer's evaluation data need not be the test documents of bakeoff.

    Args:
        of: Trial whose setting is trained.

    Attributes:
        run_id: Run of the refit; None before its end, and in all processes but the first.
    """

    def __init__(self, of: LoggedTrial) -> None:
        self._of = of
        self.run_id: str | None = None

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save the model and log it, in the first process only.

        Raises:
            TrackingError: The tracking store does not answer; a warning names the folder with the model.
        """
        if not state.is_world_process_zero:
            return
        model, tokenizer = kwargs["model"], kwargs.get("processing_class")
        if tokenizer is None:
            raise UserError(
                "BakeoffRefitCallback: the Trainer has no tokenizer; give it processing_class=tokenizer"
            )
        folder, is_kept = Path(tempfile.mkdtemp(prefix="bakeoff-refit-")), False
        try:
            getattr(model, "module", model).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            self.run_id = log_refit(self._of, folder)
        except TrackingError:
            is_kept = True  # a store that does not answer must not cost a training
            warn(f"the trained model is kept in {folder}; log it with log_refit, then delete the folder")
            raise
        finally:
            if not is_kept:
                shutil.rmtree(folder)


def _read_metrics(objective: str, args: Any, state: Any) -> dict[str, float]:
    """Read the metrics of the evaluation of the weights at hand, named as the study names its own."""
    evaluations = [entry for entry in state.log_history if any(name.startswith(_PREFIX) for name in entry)]
    if args.load_best_model_at_end and state.best_global_step:
        evaluations = [entry for entry in evaluations if entry.get("step") == state.best_global_step]
    if not evaluations:
        return {}
    found = {name: value for name, value in evaluations[-1].items() if name.startswith(_PREFIX)}
    if objective.startswith(_PREFIX):
        return found
    return {name.removeprefix(_PREFIX): value for name, value in found.items()}


def _read_arguments(args: Any) -> dict[str, Any]:
    found = {name: getattr(args, name) for name in _SEARCHED if hasattr(args, name)}
    return {name: getattr(value, "value", value) for name, value in found.items() if value is not None}


def _name_model(model: Any) -> str:
    inner = getattr(model, "module", model)
    name = str(getattr(inner, "name_or_path", "") or "").replace("\\", "/").rstrip("/").rpartition("/")[2]
    return name or str(inner.config.model_type)
