"""Sweep: a study for each backbone, then a refit of its best trial."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bakeoff.core.config.search_space import Choice, Distribution, FloatRange
from bakeoff.core.identity import build_study_family_hash, build_study_key_hash
from bakeoff.core.records import Trial
from bakeoff.core.run_mode import Step, choose_step
from bakeoff.core.selection.select import FINISHED, find_best_trial
from bakeoff.core.selection.study_groups import is_valid_metric
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_folder
from bakeoff.errors import TrackingError, WorkerError
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.orchestrator.sweep.check_settings import check_sweep_settings, pretrained_folder
from bakeoff.orchestrator.sweep.leadership import leading
from bakeoff.orchestrator.sweep.trials import (
    connect_study,
    name_study,
    open_training_process,
    run_trials,
    settle_trials,
)
from bakeoff.plural import count
from bakeoff.record import Record
from bakeoff.run.training.hugging_face import check_backbone
from bakeoff.run.training.process import TrainingProcess
from bakeoff.run.training.study import SharedStudy
from bakeoff.run.training.trainer import TrainingOrder
from bakeoff.stores import tags
from bakeoff.stores.documents import count_leaked
from bakeoff.stores.layouts import OWN_LAYOUT, Sweep, load_layout
from bakeoff.stores.tracking import reading
from bakeoff.stores.tracking.recorder import StudyIdentity, SweepRecorder, count_trials, find_sweeps

StudyAction = Literal["run", "resumed", "reused", "left", "joined"]
_AS_IT_IS = (Step.REUSE, Step.LEAVE)


class SweepResult(Record):
    """Outcome of one backbone's study.

    Attributes:
        action: ``left`` means that the run mode starts nothing new, ``joined`` that another process leads it.
        n_trials: Number of trials that ended, as Optuna counts them; only the last try of a setting counts.
        n_pruned: Number of these trials that were pruned.
        best_metric: Best metric of the study group; None if no trial is valid.
        failure: Reason why the study stopped early; None if it did not.
    """

    backbone: str
    study_key_hash: str
    action: StudyAction
    n_trials: int
    n_pruned: int = 0
    best_metric: float | None
    failure: str | None = None


@dataclass(frozen=True)
class _Opened:
    """Sweep that this process leads; its study is ready for workers."""

    identity: StudyIdentity
    recorder: SweepRecorder
    study: SharedStudy
    is_resumed: bool


def sweep(project: Project) -> tuple[SweepResult, ...]:
    """Search and refit every backbone; reuse studies that are complete.

    All sweeps are opened first, so that workers can run trials of one backbone while another is refitted.

    Raises:
        CheckpointError: A backbone's folder cannot be used.
        ConfigError: A setting that only the sweep needs is missing or unusable.
        DataError: A data file is missing or broken.
        StudyError: The study's storage does not answer; finished trials are kept and do not run again.
        TrackingError: The tracking store does not answer; finished trials are kept and do not run again.
        UserError: The experiment of sweeps was deleted, or that of benchmarks, which keeps the claims.
    """
    check_sweep_settings(project)
    durable.make_folder(project.root)
    for backbone in project.settings.hpo.backbones:
        check_backbone(pretrained_folder(project, backbone))
    leaked = count_leaked(project.corpus.train, project.corpus.test)
    if leaked:
        warn(f"the training file also contains {count(leaked, 'test document')}")
    lock = project.root / ".cache" / "sweep.lock"
    with durable.exclusive(lock, lambda holder: warn(f"waiting for another sweep of this project: {holder}")):
        (name,) = project.settings.tracking.sweep_experiments
        experiment_id = project.tracker.ensure_experiment(name)
        identities = [identify_study(project, backbone) for backbone in project.settings.hpo.backbones]
        steps = [choose_sweep_step(project, experiment_id, identity) for identity in identities]
        if all(step in _AS_IT_IS for step in steps):  # nothing to lead
            return tuple(_leave(project, experiment_id, identity) for identity in identities)
        with leading(project, experiment_id, identities, lock):
            return _lead(project, experiment_id, identities)


def identify_study(project: Project, backbone: str) -> StudyIdentity:
    """Compute the keys of one backbone's study."""
    hpo, corpus = project.settings.hpo, project.corpus
    search = {
        "trainer": hpo.trainer,
        "objective": hpo.objective.model_dump(mode="json"),
        "search_space": {name: space.model_dump(mode="json") for name, space in hpo.search_space.items()},
        "training": dict(hpo.training),
        "refit": dict(hpo.refit),
        "folds": hpo.folds,
        "search_examples": hpo.search_examples,
        "seed": hpo.seed,
    }
    common = {
        "data_fingerprint": corpus.data_fingerprint,
        "eval_fingerprint": corpus.eval_fingerprint,
        "search": search,
    }
    return StudyIdentity(
        backbone=backbone,
        study_key_hash=build_study_key_hash(
            backbone=backbone,
            backbone_digest=digest_folder(pretrained_folder(project, backbone)),
            **common,  # type: ignore[arg-type]
        ),
        study_family_hash=build_study_family_hash(**common),  # type: ignore[arg-type]
        data_fingerprint=corpus.data_fingerprint,
        eval_fingerprint=corpus.eval_fingerprint,
        metric=hpo.objective.metric,
        direction=hpo.objective.direction,
    )


def _lead(
    project: Project, experiment_id: str, identities: Sequence[StudyIdentity]
) -> tuple[SweepResult, ...]:
    results: dict[str, SweepResult] = {}
    opened: list[_Opened] = []
    try:
        for identity in identities:
            found = _open(project, experiment_id, identity)
            if isinstance(found, SweepResult):
                results[identity.backbone] = found
            else:
                opened.append(found)
        # One process for all: importing torch takes longer than a small training.
        with open_training_process(project) as process:
            while opened:
                results[opened[0].identity.backbone] = _run(project, experiment_id, opened[0], process)
                del opened[0]
    except BaseException:
        for each in opened:
            with suppress(TrackingError):  # the error that stopped the sweep says more
                each.recorder.break_off()
        raise
    return tuple(results[identity.backbone] for identity in identities)


def _open(project: Project, experiment_id: str, identity: StudyIdentity) -> _Opened | SweepResult:
    backbone = identity.backbone
    step = choose_sweep_step(project, experiment_id, identity)
    if step in _AS_IT_IS:
        return _leave(project, experiment_id, identity)
    earlier = find_sweeps(project.tracker, experiment_id, identity.study_key_hash)
    study = connect_study(project)  # before opening a run, which would stay empty if this fails
    is_resumed = step is Step.RESUME
    recorder = SweepRecorder(project.tracker, experiment_id, identity, earlier[-1][0] if is_resumed else None)
    try:
        study.lay_out(name_study(backbone, recorder.sweep_run_id))
        if is_resumed:
            recorder.reopen_sweep()
            settle_trials(recorder, study)
    except BaseException:
        with suppress(TrackingError):
            recorder.break_off()
        raise
    return _Opened(identity, recorder, study, is_resumed)


def _leave(project: Project, experiment_id: str, identity: StudyIdentity) -> SweepResult:
    """Report the study as it is, and run nothing."""
    earlier = find_sweeps(project.tracker, experiment_id, identity.study_key_hash)
    result = summarise(project, identity, "reused" if earlier else "left")
    found = count(result.n_trials, "finished trial")
    project.progress.say(f"{identity.backbone}: found {found}; nothing to run")
    return result


def _run(project: Project, experiment_id: str, opened: _Opened, process: TrainingProcess) -> SweepResult:
    identity, recorder = opened.identity, opened.recorder
    failure = None
    try:
        run_trials(project, identity, recorder, opened.study, process)
        settle_trials(recorder, opened.study)  # a worker may be about to close its last run
        best = _find_unrefitted(project, _read_group(project, experiment_id, identity))
        if best is not None:
            _refit(project, best, recorder, process)
        recorder.finish_sweep()
    except WorkerError as error:
        failure = str(error)
        recorder.break_off()
    return summarise(project, identity, "resumed" if opened.is_resumed else "run", failure)


def choose_sweep_step(project: Project, experiment_id: str, identity: StudyIdentity) -> Step:
    """Choose the step that the run mode prescribes for the study as it is."""
    earlier = find_sweeps(project.tracker, experiment_id, identity.study_key_hash)
    counts = count_trials(project.tracker, experiment_id, identity.study_key_hash)
    is_whole = bool(earlier) and earlier[-1][1] == FINISHED
    return choose_step(
        project.sweep_mode, bool(earlier), is_whole and counts.n_ended >= project.settings.hpo.n_trials
    )


def summarise(
    project: Project, identity: StudyIdentity, action: StudyAction, failure: str | None = None
) -> SweepResult:
    """Summarise what the tracking store knows of a study, and warn if the sweep failed."""
    if failure:
        warn(f"{identity.backbone}: the sweep failed: {failure}")
    (name,) = project.settings.tracking.sweep_experiments
    experiment_id = project.tracker.ensure_experiment(name)
    counts = count_trials(project.tracker, experiment_id, identity.study_key_hash)
    trials = _read_group(project, experiment_id, identity).trials
    valid = [trial for trial in trials if _is_valid(trial)]
    direction = project.settings.hpo.objective.direction
    return SweepResult(
        backbone=identity.backbone,
        study_key_hash=identity.study_key_hash,
        action=action,
        n_trials=counts.n_ended,
        n_pruned=counts.n_pruned,
        best_metric=find_best_trial(valid, direction).metric if valid else None,
        failure=failure,
    )


def _find_unrefitted(project: Project, group: Sweep) -> Trial | None:
    """Return the group's best trial if it has no refit with a checkpoint yet."""
    if not any(_is_valid(trial) for trial in group.trials):
        warn("no trial has a finite metric; nothing to refit")
        return None
    best = find_best_trial(group.trials, project.settings.hpo.objective.direction)
    is_there = any(
        refit.of_trial_run_id == best.run_id and refit.status == FINISHED and refit.artifact_available
        for refit in group.refits
    )
    return None if is_there else best


def _refit(project: Project, best: Trial, recorder: SweepRecorder, process: TrainingProcess) -> None:
    """Train a trial's setting once more on all training documents, and log its checkpoint."""
    hpo, data, corpus = project.settings.hpo, project.settings.data, project.corpus
    params = {**hpo.training, **hpo.refit, **_typed_params(best.params, hpo.search_space)}
    run_id = recorder.start_refit(
        trial_run_id=best.run_id, trial_key_hash=best.trial_key_hash, sweep_run_id=best.sweep_run_id
    )
    with (
        project.progress.track(f"refit {best.backbone}", 1) as advance,
        tempfile.TemporaryDirectory(dir=project.root / ".cache", prefix="refit-") as folder,
    ):
        checkpoint = Path(folder) / "checkpoint"
        order = TrainingOrder(
            pretrained=pretrained_folder(project, best.backbone),
            task=data.task,
            labels=corpus.labels,
            train=corpus.train,
            evaluation=corpus.test,
            hyper_parameters=params,
            max_length=data.max_length,
            seed=hpo.seed,
            checkpoint=checkpoint,
        )
        try:
            outcome = process.train(hpo.trainer, order)
            open_checkpoint(checkpoint)
        except BaseException as error:
            with suppress(TrackingError):
                recorder.fail_refit(run_id, str(error))
            raise
        if outcome.n_truncated:
            n_documents = len(corpus.train) + len(corpus.test)
            warn(
                f"{best.backbone}: {outcome.n_truncated} of {count(n_documents, 'document')} cut at "
                f"{outcome.token_limit} tokens; the model does not see the rest"
            )
        recorder.finish_refit(
            run_id,
            params=params,
            metrics=outcome.metrics,
            checkpoint=checkpoint,
            checkpoint_digest=digest_folder(checkpoint),
        )
        advance("checkpoint logged")


def _typed_params(
    params: Mapping[str, str], space: Mapping[str, Distribution]
) -> dict[str, bool | int | float | str]:
    """Convert params, which the tracking store keeps as text, to the types of the search space."""
    typed: dict[str, bool | int | float | str] = {}
    for name, distribution in space.items():
        text = params[name]
        if isinstance(distribution, Choice):
            typed[name] = next(choice for choice in distribution.choices if str(choice) == text)
        else:
            typed[name] = float(text) if isinstance(distribution, FloatRange) else int(text)
    return typed


def _read_group(project: Project, experiment_id: str, identity: StudyIdentity) -> Sweep:
    (name,) = project.settings.tracking.sweep_experiments
    return reading.read_sweep(
        project.tracker,
        {experiment_id: name},
        load_layout(OWN_LAYOUT, project.root),
        identity.metric,
        {tags.STUDY_KEY_HASH: identity.study_key_hash},
    )


def _is_valid(trial: Trial) -> bool:
    return trial.status == FINISHED and is_valid_metric(trial.metric)
