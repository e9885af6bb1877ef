"""Checkpoints for champions: what is given is taken, the rest is fetched; one that fails stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from bakeoff.core.plan.jobs import Plan
from bakeoff.core.records import Champion
from bakeoff.errors import BakeoffError, NoChampionError, UserError
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.orchestrator.champions import require_champions, select_champions
from bakeoff.orchestrator.project import Project


def find_champions(project: Project) -> tuple[Champion, ...]:
    """The selected champions, each with the digest of its checkpoint, which its jobs are known by.

    Writers other than bakeoff record no digest: then the checkpoint is acquired, once, to know it.

    Raises:
        NoChampionError: No backbone has a champion, or none whose checkpoint can be had.
        TrackingError: The store does not answer.
    """
    champions = require_champions(select_champions(project))
    identified = identify_checkpoints(champions, project)
    if not identified:
        lacking = [f"{champion.backbone}: run {champion.run_id} has no checkpoint" for champion in champions]
        raise NoChampionError(lacking, "see the warnings above, or run `bakeoff doctor`")
    return identified


def acquire_checkpoints(champions: Iterable[Champion], project: Project) -> tuple[Champion, ...]:
    """Give each champion the folder of its checkpoint on this machine, and its digest.

    Args:
        champions: Of one that has ``checkpoint_path``, the folder is checked and nothing is fetched.
        project: Its cache is looked into first, then its tracking store.

    Returns:
        The champions whose checkpoint is there; of each other one a warning was told.
    """
    return _keep_able(_acquire, champions, project)


def identify_checkpoints(champions: Iterable[Champion], project: Project) -> tuple[Champion, ...]:
    """Give each champion the digest of its checkpoint, which its jobs are known by.

    Only a champion whose writer recorded none has its checkpoint looked at, or acquired, for that.

    Returns:
        The champions whose digest is known; of each other one a warning was told.
    """
    return _keep_able(_identify, champions, project)


def acquire_for(plan: Plan, project: Project) -> Plan:
    """Acquire the checkpoints that a plan measures, and drop the jobs of those that cannot be acquired.

    Returns:
        The plan, with the checkpoint in the model of each job to measure.
    """
    ready = {model.run_id: model for model in acquire_checkpoints(plan.models_to_measure, project)}
    return Plan(
        jobs=tuple(
            planned.replace(model=ready.get(planned.model.run_id, planned.model))
            for planned in plan.jobs
            if planned.action != "measure" or planned.model.run_id in ready
        )
    )


def find_checkpoint(champion: Champion, project: Project) -> Path:
    """The folder of one champion's checkpoint, acquired if need be.

    Of a folder that is given together with its digest, only the form is checked here: the worker compares the
    content with the digest, right before it loads it.

    Raises:
        CheckpointError: It is no checkpoint, or not the one that the refit logged.
        TrackingError: It had to be fetched, and could not.
    """
    if champion.checkpoint_path is not None and champion.checkpoint_digest is not None:
        return open_checkpoint(champion.checkpoint_path).folder
    return project.checkpoints.acquire(champion, project.tracker.download)


def _acquire(champion: Champion, project: Project) -> Champion:
    identified = _identify(champion, project)
    return identified.replace(checkpoint_path=find_checkpoint(identified, project))


def _identify(champion: Champion, project: Project) -> Champion:
    if project.is_offline and project.checkpoints.find_digest(champion) is None:
        raise UserError("it was never acquired, and offline it cannot be; plan once while the store answers")
    return project.checkpoints.identify(champion, project.tracker.download)


def _keep_able(
    act: Callable[[Champion, Project], Champion], champions: Iterable[Champion], project: Project
) -> tuple[Champion, ...]:
    able = []
    for champion in champions:
        try:
            able.append(act(champion, project))
        except BakeoffError as error:
            project.progress.say(f"warning: {champion.backbone}: skipped, it has no checkpoint: {error}")
    return tuple(able)
