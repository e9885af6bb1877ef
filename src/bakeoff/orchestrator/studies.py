"""Sweep: a study for each backbone, then a refit of its best trial."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Literal

from bakeoff import durable
from bakeoff.core.groups import is_valid_metric
from bakeoff.core.identity import build_study_family_hash, build_study_key_hash
from bakeoff.core.records import Trial
from bakeoff.core.run_mode import Step, choose_step
from bakeoff.core.selection import FINISHED, find_best_trial
from bakeoff.core.settings import Choice, Distribution, FloatRange
from bakeoff.digest import digest_folder
from bakeoff.errors import TrackingError, WorkerError
from bakeoff.measure.checkpoint import open_checkpoint
from bakeoff.measure.entities import Document
from bakeoff.orchestrator.progress import Advance
from bakeoff.orchestrator.project import Project
from bakeoff.orchestrator.requirements import check_sweep_settings, pretrained_folder
from bakeoff.record import Record
from bakeoff.run import sweep as study
from bakeoff.run.executors import open_training_executor
from bakeoff.run.trainer import TrainingOrder, check_backbone
from bakeoff.stores import tags
from bakeoff.stores.datasets import count_leaked
from bakeoff.stores.layouts import OWN_LAYOUT, Sweep, load_layout
from bakeoff.stores.tracking import reading
from bakeoff.stores.tracking.recorder import StudyIdentity, SweepRecorder, find_sweeps


class SweepResult(Record):
    """What became of one backbone's study.

    Attributes:
        action: ``left`` means that the run mode starts nothing new.
        best_metric: Of the study group; None where no trial is valid.
        failure: Why the study broke off; None if it did not.
    """

    backbone: str
    study_key_hash: str
    action: Literal["run", "resumed", "reused", "left"]
    n_trials: int
    best_metric: float | None
    failure: str | None = None


def sweep(project: Project) -> tuple[SweepResult, ...]:
    """Search and refit every backbone; what is complete already is reused.

    Raises:
        CheckpointError: A backbone's folder cannot be used.
        ConfigError: A setting that only the sweep needs is missing or of no use to it.
        DataError: A data file is missing or broken.
        TrackingError: The store does not answer; what is finished is kept and is not run again.
    """
    check_sweep_settings(project)
    project.root.mkdir(parents=True, exist_ok=True)
    for backbone in project.settings.hpo.backbones:
        check_backbone(pretrained_folder(project, backbone))
    leaked = count_leaked(project.corpus.train, project.corpus.test)
    if leaked:
        project.progress.say(f"warning: {leaked} test documents stand in the training file too")
    lock = project.root / ".cache" / "sweep.lock"
    with durable.exclusive(lock, lambda: project.progress.say("waiting for another sweep of this project")):
        (name,) = project.settings.tracking.sweep_experiments
        experiment_id = project.tracker.ensure_experiment(name)
        return tuple(_sweep_backbone(project, experiment_id, name) for name in project.settings.hpo.backbones)


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


def _sweep_backbone(project: Project, experiment_id: str, backbone: str) -> SweepResult:
    identity = identify_study(project, backbone)
    earlier = find_sweeps(project.tracker, experiment_id, identity.study_key_hash)
    trials = _read_group(project, experiment_id, identity).trials
    exists = bool(earlier)
    is_complete = exists and earlier[-1][1] == FINISHED and _count(trials) >= project.settings.hpo.n_trials
    step = choose_step(project.sweep_mode, exists, is_complete)
    if step in (Step.REUSE, Step.LEAVE):
        action: Literal["reused", "left"] = "reused" if exists else "left"
        project.progress.say(f"{backbone}: {_count(trials)} finished trials are there; nothing to run")
        return _result(identity, action, trials)
    is_resumed = step is Step.RESUME
    recorder = SweepRecorder(project.tracker, experiment_id, identity, earlier[-1][0] if is_resumed else None)
    failure = None
    try:
        with open_training_executor() as executor:
            study.check_trainer(executor, project.settings.hpo.trainer)
            _run_trials(project, identity, recorder, executor)
            group = _read_group(project, experiment_id, identity)
            trials = group.trials
            best = _find_unrefitted(project, group)
            if best is not None:
                _refit(project, best, recorder, executor)
        recorder.finish_sweep()
    except WorkerError as error:
        failure = str(error)
        recorder.break_off()
    except BaseException:
        with suppress(TrackingError):  # the error that broke the sweep says more
            recorder.break_off()
        raise
    return _result(identity, "resumed" if is_resumed else "run", trials, failure)


def _run_trials(
    project: Project, identity: StudyIdentity, recorder: SweepRecorder, executor: Executor
) -> None:
    spec = _specify(project, identity, recorder.sweep_run_id)
    with project.progress.track(f"sweep {identity.backbone}", spec.n_trials * spec.folds) as advance:
        for event in study.run_study(spec, executor):
            _record(recorder, event, advance)


def _record(recorder: SweepRecorder, event: study.Event, advance: Advance) -> None:
    match event:
        case study.TrialStarted():
            recorder.start_trial(event.number, event.params)
        case study.FoldFinished():
            recorder.log_fold(event.number, event.fold, event.outcome.metrics)
            advance(f"trial {event.number} fold {event.fold}")
        case study.TrialFinished():
            recorder.finish_trial(event.number, event.metric, event.fold_metrics)
        case study.TrialFailed():
            recorder.fail_trial(event.number, event.reason)


def _specify(project: Project, identity: StudyIdentity, sweep_run_id: str) -> study.StudySpec:
    hpo, data, corpus = project.settings.hpo, project.settings.data, project.corpus
    return study.StudySpec(
        name=f"{identity.backbone}-{sweep_run_id}",
        storage=project.resolve_uri(hpo.storage),
        backbone=identity.backbone,
        pretrained=pretrained_folder(project, identity.backbone),
        labels=corpus.labels,
        documents=_pick(corpus.train, hpo.search_examples, hpo.seed),
        trainer=hpo.trainer,
        metric=hpo.objective.metric,
        direction=hpo.objective.direction,
        search_space=hpo.search_space,
        fixed=hpo.training,
        n_trials=hpo.n_trials,
        folds=hpo.folds,
        max_length=data.max_length,
        seed=hpo.seed,
    )


def _find_unrefitted(project: Project, group: Sweep) -> Trial | None:
    """The group's best trial if it has no refit with a checkpoint yet."""
    if not any(_is_valid(trial) for trial in group.trials):
        project.progress.say("warning: no trial has a finite metric; nothing to refit")
        return None
    best = find_best_trial(group.trials, project.settings.hpo.objective.direction)
    is_there = any(
        refit.of_trial_run_id == best.run_id and refit.status == FINISHED and refit.artifact_available
        for refit in group.refits
    )
    return None if is_there else best


def _refit(project: Project, best: Trial, recorder: SweepRecorder, executor: Executor) -> None:
    """Train a trial's setting once more on all training documents, and log its checkpoint."""
    hpo, data, corpus = project.settings.hpo, project.settings.data, project.corpus
    params = {**hpo.training, **hpo.refit, **_typed_params(best.params, hpo.search_space)}
    run_id = recorder.start_refit(best)
    with (
        project.progress.track(f"refit {best.backbone}", 1) as advance,
        tempfile.TemporaryDirectory(dir=project.root / ".cache", prefix="refit-") as folder,
    ):
        checkpoint = Path(folder) / "checkpoint"
        order = TrainingOrder(
            pretrained=pretrained_folder(project, best.backbone),
            labels=corpus.labels,
            train=corpus.train,
            evaluation=corpus.test,
            hyper_parameters=params,
            max_length=data.max_length,
            seed=hpo.seed,
            checkpoint=checkpoint,
        )
        try:
            outcome = study.train_in(executor, hpo.trainer, order)
            open_checkpoint(checkpoint)
        except BaseException as error:
            with suppress(TrackingError):
                recorder.fail_refit(run_id, str(error))
            raise
        if outcome.n_truncated:
            n_documents = len(corpus.train) + len(corpus.test)
            project.progress.say(
                f"warning: {best.backbone}: {outcome.n_truncated} of {n_documents} documents cut at "
                f"{outcome.token_limit} tokens, the rest of it unseen"
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
    """The tracking store keeps params as text; the search space knows what they were."""
    typed: dict[str, bool | int | float | str] = {}
    for name, distribution in space.items():
        text = params[name]
        if isinstance(distribution, Choice):
            typed[name] = next(choice for choice in distribution.choices if str(choice) == text)
        else:
            typed[name] = float(text) if isinstance(distribution, FloatRange) else int(text)
    return typed


def _pick(documents: tuple[Document, ...], count: int | None, seed: int) -> tuple[Document, ...]:
    if count is None or count >= len(documents):
        return documents
    return tuple(random.Random(seed).sample(documents, k=count))  # noqa: S311 - a sample, not a secret


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


def _count(trials: Sequence[Trial]) -> int:
    return sum(trial.status == FINISHED for trial in trials)


def _result(
    identity: StudyIdentity,
    action: Literal["run", "resumed", "reused", "left"],
    trials: Sequence[Trial],
    failure: str | None = None,
) -> SweepResult:
    valid = [trial for trial in trials if _is_valid(trial)]
    best = (
        find_best_trial(valid, "maximize" if identity.direction == "maximize" else "minimize").metric
        if valid
        else None
    )
    return SweepResult(
        backbone=identity.backbone,
        study_key_hash=identity.study_key_hash,
        action=action,
        n_trials=_count(trials),
        best_metric=best,
        failure=failure,
    )
