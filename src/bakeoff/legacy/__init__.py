"""The old entry points, translated to champions; no other module imports this file.

Deleting it leaves everything else working. New code calls ``select_champions`` and ``benchmark_champions``.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from bakeoff.core.config.parse import parse_settings
from bakeoff.core.config.settings import BenchmarkSettings, Scalar, SelectionSettings
from bakeoff.core.identity import build_trial_key_hash
from bakeoff.core.records import Champion, Direction, Refit, Trial
from bakeoff.core.selection.given_champions import parse_champions
from bakeoff.core.selection.select import FINISHED, select_champion_per_backbone
from bakeoff.core.selection.study_groups import SelectionRules, is_valid_metric
from bakeoff.errors import ChampionError, CheckpointError, NoChampionError, UserError
from bakeoff.measure.model.checkpoint import open_checkpoint, open_verified_checkpoint
from bakeoff.orchestrator import Project, benchmark_champions
from bakeoff.orchestrator.champions import read_sweep
from bakeoff.orchestrator.sweep.lead import identify_study
from bakeoff.record import Record
from bakeoff.stores.layouts import load_layout
from bakeoff.stores.tracking.recorder import StudyIdentity

TrialInfo = Mapping[str, object]
Config = Mapping[str, object]

_CHECKPOINT = "checkpoint"
_FOLD = re.compile(r"fold(\d+)")
_HASHES = ("study_key_hash", "trial_key_hash", "study_family_hash")
_MAX_METRICS_BYTES = 1_000_000  # a few numbers; more is no metrics file
# Fields that a champion needs and old callers may not pass; the others have a default or follow from these.
_NEEDED = frozenset(name for name, field in Champion.model_fields.items() if field.is_required()) - {
    "backbone",
    "run_id",
    "metric_name",
    "fold_metrics",
}
# A trial that the caller named is not judged again.
_ANY_TRIAL = SelectionSettings(
    min_trials_per_group=1, top_k_for_stable_score=1, require_artifact_available=False
)
_RETIRED = {
    "backup_enabled": "copy the folder results/ instead",
    "backup_to_drive": "copy the folder results/ instead",
    "benchmark_device": "name the device in benchmark.runtimes instead",
    "benchmark_iterations": "benchmark.protocol says how much is timed",
    "benchmark_max_length": "data.max_length holds for training and measuring alike",
    "benchmark_tracker": "tracking.uri says where results are logged",
    "benchmark_warmup": "benchmark.protocol warms up until the timings are steady",
    "ensure_restored_from_drive": "copy the folder results/ instead",
    "environment": "bakeoff records the machine itself",
    "restore_from_drive": "copy the folder results/ instead",
}


def benchmark_best_trials(
    best_trials: Mapping[str, TrialInfo],
    *,
    data_config: Config | None = None,
    hpo_config: Config | None = None,
    benchmark_config: Config | None = None,
    tracking_config: Config | None = None,
    root_dir: Path | str = ".",
    test_data_path: Path | str | None = None,
    benchmark_batch_sizes: Sequence[int] | None = None,
    project: Project | None = None,
    **retired: object,
) -> dict[str, Path]:
    """Benchmark the best trial of each backbone, completed to a champion.

    Args:
        best_trials: Trials by backbone. A trial is either the complete data of a champion with its checkpoint
            in ``checkpoint_dir``, or an identity: ``hyperparameters`` (only searched ones) or
            ``study_key_hash`` and ``trial_key_hash``, with ``trial_dir`` or ``checkpoint_dir``. bakeoff then
            looks its runs up. Further keys, such as ``trial_name``, are ignored.
        data_config: The ``data`` section, as in ``data.yaml``.
        hpo_config: The ``hpo`` section, as in ``hpo.yaml``.
        benchmark_config: The ``benchmark`` section; None means its defaults.
        tracking_config: The ``tracking`` section; None means its defaults.
        root_dir: Project folder, the base of relative paths.
        test_data_path: Test documents in place of those of ``data_config``.
        benchmark_batch_sizes: Batch sizes of the latency scenarios in place of those of ``benchmark_config``.
        project: Open project in place of all of the above.
        retired: Other arguments of old callers; a warning names the replacement of each.

    Returns:
        The result file of each backbone with a measurement. A trial that cannot be completed is skipped;
        a warning gives the reason.

    Raises:
        ConfigError: The sections have faults; it lists all of them.
        TrackingError: The tracking store does not answer the search for runs.
        TypeError: No release had this argument.
    """
    _deprecate("benchmark_best_trials", "select_champions() and benchmark_champions()")
    for name in retired:
        if name not in _RETIRED:
            raise TypeError(f"benchmark_best_trials() got an unexpected keyword argument {name!r}")
        warnings.warn(f"{name} is ignored: {_RETIRED[name]}", DeprecationWarning, stacklevel=2)
    if project is None:
        if benchmark_batch_sizes is not None:
            benchmark_config = _set_batch_sizes(benchmark_config or {}, benchmark_batch_sizes)
        sections = {"data": data_config, "hpo": hpo_config, "benchmark": benchmark_config}
        overrides = [] if test_data_path is None else [f"data.test={json.dumps(str(test_data_path))}"]
        project = _open(root_dir, sections | {"tracking": tracking_config}, overrides)
    champions = []
    for backbone, info in best_trials.items():
        try:
            champions.append(_complete(backbone, info, project))
        except UserError as error:
            warnings.warn(f"{backbone}: skipped: {error}", UserWarning, stacklevel=2)
    return benchmark_champions(champions, project)


def find_checkpoint_in_trial_dir(
    trial_dir: Path | str, metric: str = "f1", direction: Direction = "maximize"
) -> Path | None:
    """Find the checkpoint of a trial in its folder.

    The order is ``refit/checkpoint/``; ``cv/fold{N}/checkpoint/``, the fold with the best metric in its
    ``metrics.json`` first; ``checkpoint/``. Folders without a sound checkpoint are skipped.

    Args:
        trial_dir: Folder of the trial.
        metric: Metric of the objective, as named in ``metrics.json``.
        direction: Direction of the objective.

    Returns:
        The checkpoint's folder; None if there is none.
    """
    _deprecate("find_checkpoint_in_trial_dir", "the checkpoint_path of a champion")
    return _find_checkpoint(Path(trial_dir), metric, direction)


def compute_grouping_tags(
    trial_info: TrialInfo,
    data_config: Config,
    hpo_config: Config,
    benchmark_config: Config | None = None,
    *,
    root_dir: Path | str = ".",
) -> tuple[str, str, str]:
    """Identify a trial: use the hashes that it carries and compute the missing ones.

    Args:
        trial_info: Trial with the three hashes, or with ``backbone`` and ``hyperparameters``.
        data_config: The ``data`` section, as in ``data.yaml``.
        hpo_config: The ``hpo`` section.
        benchmark_config: The ``benchmark`` section; checked, but not part of a trial's identity.
        root_dir: Project folder, the base of relative paths.

    Returns:
        ``(study_key_hash, trial_key_hash, study_family_hash)``, the same as ``bakeoff sweep`` writes.

    Raises:
        ChampionError: A missing hash cannot be computed, since its inputs are missing, too.
        ConfigError: The sections have faults; it lists all of them.
        DataError: A data file is missing or broken.
    """
    _deprecate("compute_grouping_tags", "the hashes of a champion")
    trial = _OldTrial.read(trial_info, trial_info.get("backbone", ""))
    study, trial_key, family = trial.study_key_hash, trial.trial_key_hash, trial.study_family_hash
    if study and trial_key and family:
        return study, trial_key, family
    sections = {"data": data_config, "hpo": hpo_config, "benchmark": benchmark_config}
    project = _open(root_dir, sections, overrides=[])
    study, trial_key = _identify_trial(trial, project)
    return study, trial_key, family or _identify_study(trial, project).study_family_hash


class _OldTrial(Record):
    """A trial as old callers pass it; further keys are ignored."""

    model_config = Record.model_config | {"extra": "ignore"}

    backbone: str
    hyperparameters: Mapping[str, Scalar] | None = None
    checkpoint_dir: Path | None = None
    trial_dir: Path | None = None
    run_id: str | None = None
    trial_run_id: str | None = None
    refit_run_id: str | None = None
    study_key_hash: str | None = None
    trial_key_hash: str | None = None
    study_family_hash: str | None = None

    @classmethod
    def read(cls, info: object, backbone: object) -> _OldTrial:
        """Parse a trial of an old caller."""
        if not isinstance(info, Mapping):
            raise ChampionError([f"trial of {backbone!r}: found {info!r:.80}; expected a mapping"])
        try:
            return cls.model_validate({**info, "backbone": backbone})
        except ValidationError as error:
            found = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
            raise ChampionError([f"trial of {backbone!r}: {at}: {what}" for at, what in found]) from None

    def fault(self, field: str, text: str) -> ChampionError:
        """Make the error for one field."""
        return ChampionError([f"trial of {self.backbone!r}: {field}: {text}"])


def _deprecate(name: str, instead: str) -> None:
    warnings.warn(f"{name}() is deprecated; use {instead}", DeprecationWarning, stacklevel=3)


def _open(root_dir: Path | str, sections: Mapping[str, Config | None], overrides: Sequence[str]) -> Project:
    texts = {
        stage: (f"{stage}_config", yaml.safe_dump(json.loads(json.dumps(dict(section), default=str))))
        for stage, section in sections.items()
        if section is not None
    }
    return Project(Path(root_dir).absolute(), parse_settings(texts, overrides))


def _set_batch_sizes(benchmark: Config, batch_sizes: Sequence[int]) -> Config:
    """Set the batch sizes of each latency scenario; all else in the section is checked later."""
    scenarios = benchmark.get("scenarios") or BenchmarkSettings().model_dump(mode="json")["scenarios"]
    if not isinstance(scenarios, list | tuple):
        return benchmark
    changed = [
        {**one, "batch_sizes": list(batch_sizes)}
        if isinstance(one, Mapping) and one.get("kind") == "latency"
        else one
        for one in scenarios
    ]
    return {**benchmark, "scenarios": changed}


def _complete(backbone: str, info: TrialInfo, project: Project) -> Champion:
    """Make a champion from the data of a trial, and look up missing fields."""
    trial = _OldTrial.read(info, backbone)
    checkpoint = trial.checkpoint_dir or _find_in_trial_dir(trial, project)
    known = {name: value for name, value in info.items() if value is not None}
    if known.keys() >= _NEEDED:
        given = {"checkpoint_path": checkpoint} if checkpoint else {}
        (champion,) = parse_champions({backbone: {"champion": known | given}})
        return champion
    found = _look_up(trial, project, is_fold=checkpoint is not None and _is_of_fold(checkpoint))
    if trial.run_id not in (None, found.trial_run_id, found.refit_run_id):
        raise trial.fault("run_id", f"found {trial.run_id}; its trial is {found.trial_run_id}")
    if checkpoint is not None and found.checkpoint_digest is not None:
        open_verified_checkpoint(checkpoint, found.checkpoint_digest)
    return found.replace(checkpoint_path=checkpoint)


def _find_in_trial_dir(trial: _OldTrial, project: Project) -> Path | None:
    if trial.trial_dir is None:
        return None
    objective = project.settings.hpo.objective
    found = _find_checkpoint(trial.trial_dir, objective.metric, objective.direction)
    if found is None:
        raise trial.fault("trial_dir", f"found no sound checkpoint in {trial.trial_dir}")
    return found


def _look_up(trial: _OldTrial, project: Project, *, is_fold: bool) -> Champion:
    """Find a trial and its refit by their hashes, and by those run ids that are known.

    A trial without refit is measured under its own run. So is the checkpoint of a fold, since it is not that
    of the refit.
    """
    study, trial_key = _identify_trial(trial, project)
    all_trials, all_refits = _read_sweep(trial, project)
    runs = [
        run
        for run in all_trials
        if (run.study_key_hash, run.trial_key_hash) == (study, trial_key)
        and trial.trial_run_id in (None, run.run_id)
    ]
    of = {run.run_id for run in runs if not is_fold}
    refits = [
        refit
        for refit in all_refits
        if refit.of_trial_run_id in of
        and refit.status == FINISHED
        and trial.refit_run_id in (None, refit.run_id)
    ]
    if trial.refit_run_id and of and not refits:
        raise trial.fault(
            "refit_run_id", f"found {trial.refit_run_id}; expected a finished refit of this trial"
        )
    found = select_champion_per_backbone(
        trial.backbone,
        runs,
        refits or [_own_run(run) for run in runs],
        SelectionRules(_ANY_TRIAL, project.settings.hpo.objective.direction),
    )
    if found.champion is None:
        raise trial.fault("runs", f"not found in {project.tracker.shown_uri}: {found.reason}")
    return found.champion


def _read_sweep(trial: _OldTrial, project: Project) -> tuple[Sequence[Trial], Sequence[Refit]]:
    names = " and ".join(map(repr, project.settings.tracking.sweep_experiments))
    try:
        sweep = read_sweep(project, load_layout(project.settings.tracking.layout, project.root))
    except NoChampionError as error:
        raise trial.fault("runs", f"found no experiment {names} in {project.tracker.shown_uri}") from error
    return sweep.trials, sweep.refits


def _own_run(trial: Trial) -> Refit:
    return Refit(
        run_id=trial.run_id,
        status=trial.status,
        of_trial_run_id=trial.run_id,
        start_time_ms=trial.start_time_ms,
        artifact_available=False,
        checkpoint_digest=None,
    )


def _identify_trial(trial: _OldTrial, project: Project) -> tuple[str, str]:
    study = trial.study_key_hash or _identify_study(trial, project).study_key_hash
    if trial.trial_key_hash:
        return study, trial.trial_key_hash
    if not trial.hyperparameters:
        raise trial.fault("hyperparameters", "missing; give them, or trial_key_hash")
    try:
        return study, build_trial_key_hash(study, trial.hyperparameters)
    except ValueError as error:
        raise trial.fault("hyperparameters", str(error)) from error


def _identify_study(trial: _OldTrial, project: Project) -> StudyIdentity:
    known = project.settings.hpo.backbones
    if trial.backbone not in known:
        raise trial.fault("backbone", f"expected one of hpo.backbones: {', '.join(known)}")
    return identify_study(project, trial.backbone)


def _find_checkpoint(trial_dir: Path, metric: str, direction: Direction) -> Path | None:
    places = (
        trial_dir / "refit" / _CHECKPOINT,
        *(fold / _CHECKPOINT for fold in _rank_folds(trial_dir / "cv", metric, direction)),
        trial_dir / _CHECKPOINT,
    )
    return next((place for place in places if _is_sound(place)), None)


def _rank_folds(folder: Path, metric: str, direction: Direction) -> Iterator[Path]:
    """List the folds with a known metric, the best first; of equal ones the lower number first."""
    sign = -1 if direction == "maximize" else 1
    ranked = [
        (sign * value, int(match[1]), fold)
        for fold in (folder.iterdir() if folder.is_dir() else ())
        if (match := _FOLD.fullmatch(fold.name)) and (value := _read_metric(fold, metric)) is not None
    ]
    yield from (fold for _, _, fold in sorted(ranked))


def _read_metric(fold: Path, metric: str) -> float | None:
    path = fold / "metrics.json"
    try:
        if path.stat().st_size > _MAX_METRICS_BYTES:
            return None
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    value = values.get(metric) if isinstance(values, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_valid_metric(value):
        return None
    return float(value)


def _is_sound(folder: Path) -> bool:
    try:
        open_checkpoint(folder)
    except CheckpointError:
        return False
    return True


def _is_of_fold(checkpoint: Path) -> bool:
    return _FOLD.fullmatch(checkpoint.parent.name) is not None
