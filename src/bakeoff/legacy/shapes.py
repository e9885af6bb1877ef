"""Champions and trials as old callers hold them: mappings in, records inside, mappings out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bakeoff.core.identity import is_run_id
from bakeoff.core.records import BackboneSelection, Champion
from bakeoff.disk.digest import stamp_folder
from bakeoff.errors import ChampionError
from bakeoff.legacy.sections import name_backbone
from bakeoff.record import Record

ARCHIVE = "best_trial_checkpoint.tar.gz"
_CHAMPION_KEYS = (
    "trial_run_id", "refit_run_id", "run_id", "trial_key_hash", "metric", "stable_score", "study_key_hash",
    "schema_version", "checkpoint_path", "experiment_name", "experiment_id",
)  # fmt: skip


class OldTrial(Record):
    """A champion or a trial as old callers pass it; further keys are ignored.

    Attributes:
        hyperparameters: Searched values, from which missing hashes are computed.
        run_id: Run of the refit, or of the trial without one.
    """

    model_config = Record.model_config | {"extra": "ignore"}

    backbone: str
    trial_dir: Path | None = None
    checkpoint_dir: Path | None = None
    checkpoint_path: Path | None = None
    checkpoint_digest: str | None = None
    checkpoint_artifact: str = ARCHIVE
    hyperparameters: Mapping[str, Any] | None = None
    run_id: str | None = None
    trial_run_id: str | None = None
    refit_run_id: str | None = None
    sweep_run_id: str | None = None
    study_key_hash: str | None = None
    trial_key_hash: str | None = None
    study_family_hash: str | None = None
    data_fingerprint: str | None = None
    eval_fingerprint: str | None = None
    schema_version: str | None = None
    experiment_name: str | None = None
    experiment_id: str | None = None
    metric: float | None = None
    accuracy: float | None = None
    metric_name: str | None = None
    stable_score: float | None = None
    refit_metric: float | None = None
    fold_metrics: tuple[float | None, ...] = ()

    @property
    def checkpoint(self) -> Path | None:
        """Folder of the checkpoint, as given."""
        return self.checkpoint_dir or self.checkpoint_path

    @property
    def measured_run_id(self) -> str | None:
        """Run whose checkpoint is measured: the refit, or the trial without one."""
        return self.refit_run_id or self.run_id or self.trial_run_id

    def fault(self, field: str, text: str) -> ChampionError:
        """Make the error for one field."""
        return ChampionError([f"trial of {self.backbone!r}: {field}: {text}"])


def read_trial(backbone: str, given: object) -> OldTrial:
    """Parse what an old caller passes for one backbone.

    Raises:
        ChampionError: It is not a mapping, or a value does not fit.
    """
    match given:
        case BackboneSelection():
            given = given.champion or {"champion": None, "reason": given.reason}
        case Mapping() if given.get("champion") is not None:
            given = given["champion"]
    if isinstance(given, Champion):
        given = given.model_dump()
    if isinstance(given, Mapping) and "champion" in given:
        raise ChampionError([f"no champion: {given.get('reason') or 'the selection found none'}"])
    if not isinstance(given, Mapping):
        raise ChampionError([f"trial of {backbone!r}: found {given!r:.80}; expected a mapping"])
    known = {str(name): value for name, value in given.items() if value is not None}
    try:
        return OldTrial.model_validate({**known, "backbone": backbone})
    except ValidationError as error:
        found = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
        raise ChampionError([f"trial of {backbone!r}: {at}: {what}" for at, what in found]) from None


def make_champion(trial: OldTrial, metric_name: str) -> Champion:
    """Make a champion from a trial with its run; nothing is looked up and no file is read.

    The files of a given folder without digest are known by name, size and time.

    Raises:
        ChampionError: The run is missing, or its id is not one.
        CheckpointError: The folder of the checkpoint is missing.
    """
    run_id = trial.measured_run_id
    if run_id is None:
        raise trial.fault("run_id", "missing; give refit_run_id or trial_run_id")
    for name in ("run_id", "trial_run_id", "refit_run_id", "sweep_run_id"):
        value = getattr(trial, name)
        if value is not None and not is_run_id(value):
            raise trial.fault(name, f"found {value!r:.80}; expected an MLflow run id, 32 hex digits")
    folder = trial.checkpoint
    digest = trial.checkpoint_digest or (stamp_folder(folder) if folder else None)
    score = next((each for each in (trial.metric, trial.accuracy) if each is not None), 0.0)
    return Champion(
        backbone=name_backbone(trial.backbone),
        run_id=run_id,
        trial_run_id=trial.trial_run_id or run_id,
        refit_run_id=run_id,
        sweep_run_id=trial.sweep_run_id or "",
        study_key_hash=trial.study_key_hash or "",
        trial_key_hash=trial.trial_key_hash or "",
        metric=score,
        metric_name=trial.metric_name or metric_name,
        stable_score=score if trial.stable_score is None else trial.stable_score,
        fold_metrics=trial.fold_metrics,
        schema_version=trial.schema_version or "",
        data_fingerprint=trial.data_fingerprint or "",
        eval_fingerprint=trial.eval_fingerprint or "",
        refit_metric=trial.refit_metric,
        checkpoint_artifact=trial.checkpoint_artifact,
        checkpoint_path=folder,
        checkpoint_digest=digest,
        experiment_id=trial.experiment_id or "",
        experiment_name=trial.experiment_name or "",
    )


def show_selection(backbone: str, selection: BackboneSelection) -> dict[str, Any]:
    """Return a selection with a champion in the old shape."""
    if selection.champion is None:
        raise ChampionError([f"{backbone}: no champion: {selection.reason}"])
    return {
        "backbone": backbone,
        "champion": {name: getattr(selection.champion, name) for name in _CHAMPION_KEYS},
        "all_groups": {each.study_key_hash: each.model_dump() for each in selection.all_groups},
        "selection_metadata": dict(selection.selection_metadata),
    }
