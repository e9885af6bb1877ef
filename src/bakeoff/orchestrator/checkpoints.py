"""Checkpoints of champions: use the given folder, or fetch it; a failure skips one champion only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from bakeoff.core.plan.jobs import Plan
from bakeoff.core.records import Champion
from bakeoff.errors import BakeoffError, NoChampionError, UserError
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.orchestrator.champions import require_champions, select_champions
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project

OnSkip = Callable[[Champion, BakeoffError], None]


def _describe_skip(champion: Champion, error: BakeoffError) -> str:
    return f"{champion.backbone}: skipped, since it has no checkpoint: {error}"


def _warn_skipped(champion: Champion, error: BakeoffError) -> None:
    warn(_describe_skip(champion, error))


def find_champions(project: Project) -> tuple[Champion, ...]:
    """Find the selected champions with the digests of their checkpoints, which identify their jobs.

    Other writers than bakeoff record no digest. Their checkpoint is acquired once to compute it.

    Raises:
        NoChampionError: No backbone has a champion with a checkpoint.
    """
    selections = select_champions(project)
    champions = require_champions(selections)
    for selection in selections.values():
        if selection.champion is None:
            project.warn_once(f"{selection.backbone}: skipped, since it has no champion: {selection.reason}")
    identified = identify_checkpoints(
        champions, project, lambda champion, error: project.warn_once(_describe_skip(champion, error))
    )
    if not identified:
        missing = [f"{champion.backbone}: run {champion.run_id} has no checkpoint" for champion in champions]
        raise NoChampionError(missing, "see the warnings above, or run `bakeoff doctor`")
    return identified


def acquire_checkpoints(champions: Iterable[Champion], project: Project) -> tuple[Champion, ...]:
    """Give each champion the folder of its checkpoint on this machine, and its digest.

    Args:
        champions: Champions; a folder in ``checkpoint_path`` is checked, and nothing is fetched.
        project: Project with the cache, which is tried first, and the tracking store.

    Returns:
        The champions with a checkpoint; each other one is reported and skipped.
    """
    return _keep_able(_acquire, champions, project, _warn_skipped)


def identify_checkpoints(
    champions: Iterable[Champion], project: Project, on_skip: OnSkip = _warn_skipped
) -> tuple[Champion, ...]:
    """Give each champion the digest of its checkpoint, which identifies its jobs.

    A checkpoint is read, or acquired, only if its writer recorded no digest.

    Args:
        champions: Champions, with or without a digest.
        project: Project with the cache and the tracking store.
        on_skip: Called with each champion that has no checkpoint, and the reason.

    Returns:
        The champions with a digest; each other one is reported and skipped.
    """
    return _keep_able(_identify, champions, project, on_skip)


def acquire_for(plan: Plan, project: Project, on_skip: OnSkip = _warn_skipped) -> Plan:
    """Acquire the checkpoints that a plan measures, and drop the jobs of those that cannot be acquired.

    Args:
        plan: Plan of all jobs.
        project: Project with the cache and the tracking store.
        on_skip: Called with each champion that has no checkpoint, and the reason.

    Returns:
        The plan, with the checkpoint in the model of each job to measure.
    """
    acquired = _keep_able(_acquire, plan.models_to_measure, project, on_skip)
    ready = {model.run_id: model for model in acquired}
    return Plan(
        jobs=tuple(
            planned.replace(model=ready.get(planned.model.run_id, planned.model))
            for planned in plan.jobs
            if planned.action != "measure" or planned.model.run_id in ready
        )
    )


def find_checkpoint(champion: Champion, project: Project) -> Path:
    """Return the folder of a champion's checkpoint; acquire it if necessary.

    If both folder and digest are given, only the form is checked here. The worker compares the content with
    the digest right before it loads it.

    Raises:
        CheckpointError: The folder is not a checkpoint, or not the one that the refit logged.
    """
    if champion.checkpoint_path is not None and champion.checkpoint_digest is not None:
        return open_checkpoint(champion.checkpoint_path).folder
    return project.checkpoints.acquire(champion, project.tracker.download)


def _acquire(champion: Champion, project: Project) -> Champion:
    identified = _identify(champion, project)
    return identified.replace(checkpoint_path=find_checkpoint(identified, project))


def _identify(champion: Champion, project: Project) -> Champion:
    if project.is_offline and project.checkpoints.find_digest(champion) is None:
        raise UserError(
            "it was never acquired, and bakeoff is offline; run `bakeoff plan` once while the store answers"
        )
    return project.checkpoints.identify(champion, project.tracker.download)


def _keep_able(
    act: Callable[[Champion, Project], Champion],
    champions: Iterable[Champion],
    project: Project,
    on_skip: OnSkip,
) -> tuple[Champion, ...]:
    able = []
    for champion in champions:
        try:
            able.append(act(champion, project))
        except BakeoffError as error:
            on_skip(champion, error)
    return tuple(able)
