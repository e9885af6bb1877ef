"""Trials of old callers completed: checkpoint from the trial's folder, hashes, run ids from the store."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.core.records import Refit, Trial
from bakeoff.core.selection.select import FINISHED
from bakeoff.legacy import hashes
from bakeoff.legacy.checkpoints import find_checkpoint, is_of_fold
from bakeoff.legacy.hashes import Config
from bakeoff.legacy.shapes import OldTrial
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.orchestrator import Project
from bakeoff.stores.layouts import Sweep, load_layout
from bakeoff.stores.tracking import reading


def complete_hashes(
    trial: OldTrial, data_config: Config, hpo_config: Config, benchmark_config: Config | None
) -> OldTrial:
    """Compute the hashes that a trial does not carry, as the old writer did; given ones are used.

    Raises:
        ChampionError: A trial key is missing, and so are the hyper-parameters.
    """
    study = trial.study_key_hash or hashes.hash_key(
        hashes.build_study_key(data_config, hpo_config, trial.backbone, benchmark_config)
    )
    if not trial.trial_key_hash and not trial.hyperparameters:
        raise trial.fault("hyperparameters", "missing; give them, or trial_key_hash")
    key = trial.trial_key_hash or hashes.hash_key(hashes.build_trial_key(study, trial.hyperparameters or {}))
    family = trial.study_family_hash or hashes.hash_key(
        hashes.build_study_family_key(data_config, hpo_config, benchmark_config)
    )
    return trial.replace(study_key_hash=study, trial_key_hash=key, study_family_hash=family)


def complete_checkpoint(trial: OldTrial, project: Project) -> OldTrial:
    """Search the trial's folder for the checkpoint, unless its folder is given.

    Raises:
        ChampionError: The folder of the trial has no sound checkpoint.
        CheckpointError: The given folder is not a checkpoint.
    """
    if trial.checkpoint is not None:
        open_checkpoint(trial.checkpoint)
        return trial
    if trial.trial_dir is None:
        return trial
    objective = project.settings.hpo.objective
    found = find_checkpoint(trial.trial_dir, objective.metric, objective.direction)
    if found is None and trial.measured_run_id is not None:
        return trial  # its checkpoint is acquired from the run
    if found is None:
        raise trial.fault("trial_dir", f"found no sound checkpoint in {trial.trial_dir}")
    return trial.replace(checkpoint_dir=found)


def complete_runs(trial: OldTrial, project: Project) -> OldTrial:
    """Look up the runs of a trial without run ids: by its hashes, else by its hyper-parameters.

    Raises:
        ChampionError: The store has no such finished trial.
        TrackingError: The store does not answer.
    """
    if trial.measured_run_id is not None:
        return trial
    sweep = _read_sweep(trial, project)
    mine = [each for each in sweep.trials if each.backbone == trial.backbone and each.status == FINISHED]
    found = _find_trial(trial, mine)
    if found is None:
        raise trial.fault(
            "runs", f"found no finished trial in {project.tracker.shown_uri}; give trial_run_id"
        )
    is_fold = trial.checkpoint is not None and is_of_fold(trial.checkpoint)
    refit = None if is_fold else _find_refit(found, sweep.refits)
    return trial.replace(
        trial_run_id=found.run_id,
        refit_run_id=refit.run_id if refit else None,
        sweep_run_id=found.sweep_run_id,
        study_key_hash=found.study_key_hash,
        trial_key_hash=found.trial_key_hash,
        schema_version=found.schema_version,
        data_fingerprint=trial.data_fingerprint or found.data_fingerprint,
        eval_fingerprint=trial.eval_fingerprint or found.eval_fingerprint,
        experiment_id=found.experiment_id,
        experiment_name=found.experiment_name,
        checkpoint_artifact=refit.checkpoint_artifact if refit else trial.checkpoint_artifact,
        checkpoint_digest=trial.checkpoint_digest or (refit.checkpoint_digest if refit else None),
    )


def _read_sweep(trial: OldTrial, project: Project) -> Sweep:
    """Read the experiments of a backbone's search: the given one, or all that end in its name."""
    names = [trial.experiment_name] if trial.experiment_name else []
    if not names:
        names = [
            name for name in project.tracker.list_experiments() if name.endswith(f"-hpo-{trial.backbone}")
        ]
    ids = {found: name for name in names if (found := project.tracker.find_experiment(name)) is not None}
    if not ids:
        wanted = trial.experiment_name or f"…-hpo-{trial.backbone}"
        raise trial.fault(
            "runs", f"found no experiment {wanted} in {project.tracker.shown_uri}; give experiment_name"
        )
    tracking, metric = project.settings.tracking, project.settings.hpo.objective.metric
    layout = load_layout(tracking.layout, project.root)
    return reading.read_sweep(project.tracker, ids, layout, metric)


def _find_trial(trial: OldTrial, among: Sequence[Trial]) -> Trial | None:
    """Find the trial by study and trial key, else by equal hyper-parameters; of several the earliest.

    The study key of newer runs is made of more than old callers pass.
    """
    same = [
        each
        for each in among
        if trial.trial_key_hash == each.trial_key_hash and trial.study_key_hash in (None, each.study_key_hash)
    ]
    if not same and trial.hyperparameters:
        wanted = _as_text(trial.hyperparameters)
        same = [each for each in among if _as_text(each.params).items() >= wanted.items()]
    return min(same, key=lambda each: (each.start_time_ms, each.run_id), default=None)


def _find_refit(trial: Trial, refits: Sequence[Refit]) -> Refit | None:
    """Find the finished refit of a trial; of several the newest."""
    mine = [each for each in refits if each.of_trial_run_id == trial.run_id and each.status == FINISHED]
    return max(mine, key=lambda each: (each.start_time_ms, each.run_id), default=None)


def _as_text(params: Config) -> dict[str, str]:
    """Return values as texts that are equal if the numbers are; the store keeps every param as text."""
    return {name: _show(value) for name, value in hashes.normalize_hyperparameters(params).items()}


def _show(value: object) -> str:
    try:
        return f"{float(str(value)):.12e}"
    except ValueError:
        return str(value).lower().strip()
