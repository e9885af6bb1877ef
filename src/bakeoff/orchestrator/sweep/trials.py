"""Trials of one backbone's study: the leader and the workers run and record them alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing

from bakeoff.measure.tasks import Document
from bakeoff.orchestrator.progress import Advance, warn
from bakeoff.orchestrator.project import Project
from bakeoff.orchestrator.sweep.check_settings import pretrained_folder
from bakeoff.plural import count
from bakeoff.run.training import cross_validate
from bakeoff.run.training.process import TrainingProcess
from bakeoff.run.training.search import StudyPlan
from bakeoff.run.training.study import SharedStudy
from bakeoff.stores.tracking.recorder import StudyIdentity, SweepRecorder


def connect_study(project: Project) -> SharedStudy:
    """Connect to the storage of studies, without creating or joining a study.

    Raises:
        MissingExtraError: Optuna or the driver of the database is not installed.
        StudyError: The storage does not answer.
    """
    hpo = project.settings.hpo
    plan = StudyPlan(
        storage=project.resolve_uri(hpo.storage),
        direction=hpo.objective.direction,
        search_space=hpo.search_space,
        n_trials=hpo.n_trials,
        seed=hpo.seed,
        pruner=hpo.pruner,
        workers=hpo.workers,
    )
    return SharedStudy(plan, warn)


def name_study(backbone: str, sweep_run_id: str) -> str:
    """Return the name of a sweep's study in Optuna's storage."""
    return f"{backbone}-{sweep_run_id}"


def open_training_process(project: Project) -> TrainingProcess:
    """Return the process of the trainings, which starts with the first one."""
    return TrainingProcess(project.root / ".cache" / "training", project.training_variables)


def run_trials(
    project: Project,
    identity: StudyIdentity,
    recorder: SweepRecorder,
    study: SharedStudy,
    process: TrainingProcess,
) -> None:
    """Run trials until all trials of the study have ended, and record those of this process."""
    backbone, hpo = identity.backbone, project.settings.hpo
    if not process.load(hpo.trainer) and hpo.pruner is not None:
        warn(
            f"hpo.pruner has no effect: the train method of {hpo.trainer} takes no `report`; "
            "add this parameter, or set hpo.pruner to null"
        )

    def say_waiting(n_open: int) -> None:
        others = count(n_open, "trial of another worker", "trials of other workers")
        warn(f"{backbone}: waiting for {others}")

    plan = _plan_training(project, backbone)
    with (
        project.progress.track(f"sweep {backbone}", hpo.n_trials * hpo.folds) as advance,
        closing(cross_validate.run_study(plan, study, process, say_waiting)) as events,
    ):
        for event in events:
            _record(recorder, event, advance)


def settle_trials(recorder: SweepRecorder, study: SharedStudy) -> None:
    """Make the runs of trials agree with the study."""
    recorder.settle_trials(study.states(), study.retried())


def _record(recorder: SweepRecorder, event: cross_validate.Event, advance: Advance) -> None:
    match event:
        case cross_validate.TrialStarted():
            recorder.start_trial(event.number, event.params, event.retry_of)
        case cross_validate.FoldFinished():
            recorder.log_fold(event.number, event.fold, event.outcome.metrics, event.epochs)
            advance(f"trial {event.number} fold {event.fold}")
        case cross_validate.TrialFinished():
            recorder.score_trial(event.number, event.metric, event.fold_metrics)
        case cross_validate.TrialClosed():
            recorder.close_trial(event.number, event.state)
        case cross_validate.TrialPruned():
            recorder.prune_trial(event.number, event.epochs)
            advance(f"trial {event.number} pruned after epoch {len(event.epochs)}")
        case cross_validate.TrialFailed():
            recorder.fail_trial(event.number, event.reason, is_retried=event.is_retried)


def _plan_training(project: Project, backbone: str) -> cross_validate.TrainingPlan:
    hpo, data, corpus = project.settings.hpo, project.settings.data, project.corpus
    return cross_validate.TrainingPlan(
        pretrained=pretrained_folder(project, backbone),
        task=data.task,
        labels=corpus.labels,
        documents=_pick(corpus.train, hpo.search_examples, hpo.seed),
        trainer=hpo.trainer,
        metric=hpo.objective.metric,
        fixed=hpo.training,
        folds=hpo.folds,
        max_length=data.max_length,
        seed=hpo.seed,
    )


def _pick(documents: Sequence[Document], count: int | None, seed: int) -> tuple[Document, ...]:
    if count is None or count >= len(documents):
        return tuple(documents)
    return tuple(random.Random(seed).sample(documents, k=count))  # noqa: S311 - a sample, not a secret
