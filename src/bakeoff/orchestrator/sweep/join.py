"""Workers of a sweep: they run trials of a sweep that another process leads, and refit nothing."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import suppress

from bakeoff.core.run_mode import Step
from bakeoff.errors import NoSweepError, TrackingError, WorkerError
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.orchestrator.sweep.check_settings import check_sweep_settings, pretrained_folder
from bakeoff.orchestrator.sweep.lead import SweepResult, choose_sweep_step, identify_study, summarise
from bakeoff.orchestrator.sweep.trials import connect_study, name_study, open_training_process, run_trials
from bakeoff.run.training.hugging_face import check_backbone
from bakeoff.run.training.study import SharedStudy
from bakeoff.stores import tags
from bakeoff.stores.tracking.recorder import StudyIdentity, SweepRecorder, find_running_sweeps

LOOK_S = 2.0


def join_sweep(project: Project) -> tuple[SweepResult, ...]:
    """Run trials of a sweep that another process leads, until its studies are complete.

    Raises:
        CheckpointError: A backbone's folder cannot be used.
        ConfigError: A setting that only the sweep needs is missing or unusable.
        DataError: A data file is missing or broken.
        NoSweepError: No sweep to join appeared within ``hpo.workers.wait_s``.
        StudyError: The study's storage does not answer.
        TrackingError: The tracking store does not answer.
    """
    check_sweep_settings(project)
    for backbone in project.settings.hpo.backbones:
        check_backbone(pretrained_folder(project, backbone))
    return tuple(_join_backbone(project, backbone) for backbone in project.settings.hpo.backbones)


def _join_backbone(project: Project, backbone: str) -> SweepResult:
    identity = identify_study(project, backbone)
    found = _wait_for_sweep(project, identity)
    if found is None:
        project.progress.say(f"{backbone}: all trials are done; nothing to join")
        return summarise(project, identity, "left")
    recorder, study = found
    project.progress.say(f"{backbone}: joined sweep {recorder.sweep_run_id}")
    failure = None
    try:
        with open_training_process(project) as process:
            run_trials(project, identity, recorder, study, process)
    except WorkerError as error:
        failure = str(error)
    except BaseException:
        with suppress(TrackingError):  # the error that ended the work says more
            recorder.abandon_trials()
        raise
    return summarise(project, identity, "joined", failure)


def _wait_for_sweep(project: Project, identity: StudyIdentity) -> tuple[SweepRecorder, SharedStudy] | None:
    """Wait for the running sweep of this configuration; return None if its study is complete."""
    wait_s = project.settings.hpo.workers.wait_s
    deadline = time.monotonic() + wait_s
    shown = ""
    connect = functools.cache(functools.partial(connect_study, project))
    while True:
        found = _look(project, identity, connect)
        if not isinstance(found, str):
            return found
        if time.monotonic() >= deadline:
            raise NoSweepError(identity.backbone, waited_s=wait_s, found=found)
        if found != shown:
            warn(f"{identity.backbone}: {found}; waiting up to {wait_s:.0f} s for a sweep")
            shown = found
        time.sleep(min(LOOK_S, wait_s))


def _look(
    project: Project, identity: StudyIdentity, connect: Callable[[], SharedStudy]
) -> tuple[SweepRecorder, SharedStudy] | str | None:
    """Find a sweep to join; return why there is none, or None if the study is complete."""
    (name,) = project.settings.tracking.sweep_experiments
    experiment_id = project.tracker.find_experiment(name)
    if experiment_id is None:
        return f"{project.tracker.shown_uri} has no experiment {name!r}"
    running = find_running_sweeps(project.tracker, experiment_id, identity.backbone)
    for run_id, found in running:
        if found.get(tags.STUDY_KEY_HASH) == identity.study_key_hash:
            study = connect()
            if study.join(name_study(identity.backbone, run_id)):
                return SweepRecorder(project.tracker, experiment_id, identity, run_id), study
            return f"sweep {run_id} is running, but its study is not in hpo.storage"
    if choose_sweep_step(project, experiment_id, identity) in (Step.REUSE, Step.LEAVE):
        return None
    if running:
        differs = _name_difference(identity, running[0][1])
        return f"sweep {running[0][0]} is running with another configuration ({differs})"
    return "no sweep is running"


def _name_difference(identity: StudyIdentity, found: dict[str, str]) -> str:
    """Name the part in which the identity of a running sweep differs from ours."""
    ours = identity.tags
    parts = {
        tags.DATA_FINGERPRINT: "the data, its split or the seed differ",
        tags.EVAL_FINGERPRINT: "the metric or data.max_length differ",
        tags.STUDY_FAMILY_HASH: "trainer, search space, training or refit settings differ",
    }
    return next(
        (words for tag, words in parts.items() if found.get(tag) != ours[tag]),
        "the files of the pretrained model differ",
    )
