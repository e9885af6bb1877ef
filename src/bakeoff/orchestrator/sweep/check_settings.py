"""Check of the settings that only ``bakeoff sweep`` needs."""

from __future__ import annotations

from pathlib import Path

from bakeoff.core.config.settings import BUILT_IN_TRAINER
from bakeoff.errors import ConfigError
from bakeoff.orchestrator.project import Project
from bakeoff.stores.layouts import OWN_LAYOUT


def check_sweep_settings(project: Project) -> None:
    """Check the settings that only a sweep needs.

    Raises:
        ConfigError: Settings are missing or unusable; the error names all of them.
    """
    hpo, tracking = project.settings.hpo, project.settings.tracking
    faults = [
        project.missing(key, "`bakeoff sweep`")
        for key, is_there in {
            "data.train": project.settings.data.train is not None,
            "data.test": project.settings.data.test is not None,
            "hpo.backbones": bool(hpo.backbones),
            "hpo.search_space": bool(hpo.search_space),
            **{f"hpo.backbones.{name}.pretrained": row.pretrained for name, row in hpo.backbones.items()},
        }.items()
        if not is_there
    ]
    task = project.settings.data.task
    if not task.metrics:
        faults.append(
            f"{project.place('data')}: data.task: found {task.kind!r}, which has no labels to learn from; "
            "`bakeoff sweep` trains the other tasks"
        )
    elif hpo.trainer == BUILT_IN_TRAINER:
        faults += _find_faults_of_objective(project)
    if tracking.layout != OWN_LAYOUT:
        faults.append(
            f"{project.place('tracking')}: tracking.layout: found {tracking.layout!r}; `bakeoff sweep` "
            f"writes {OWN_LAYOUT!r} only; set it to {OWN_LAYOUT!r}"
        )
    if len(tracking.sweep_experiments) > 1:
        faults.append(
            f"{project.place('tracking')}: tracking.sweep_experiment: found "
            f"{len(tracking.sweep_experiments)} names; `bakeoff sweep` writes to one; keep one"
        )
    if faults:
        raise ConfigError(faults)


def _find_faults_of_objective(project: Project) -> list[str]:
    """Compare the objective with the metrics that the built-in trainer returns: those of the task."""
    objective, task = project.settings.hpo.objective, project.settings.data.task
    place = f"{project.place('hpo')}: hpo.objective"
    metric = task.metrics.get(objective.metric)
    if metric is None:
        line = (
            f"{place}.metric: found {objective.metric!r}; the built-in trainer offers for {task.kind}: "
            f"{', '.join(task.metrics)}; set one of these, or name a trainer of your own in hpo.trainer"
        )
        return [line]
    if metric.direction != objective.direction:
        needed = f"{metric.name} needs {metric.direction!r}; set it"
        return [f"{place}.direction: found {objective.direction!r}; {needed}"]
    return []


def pretrained_folder(project: Project, backbone: str) -> Path:
    """Return the folder of a backbone's pretrained model."""
    folder = project.settings.hpo.backbones[backbone].pretrained
    if folder is None:
        raise ConfigError([project.missing(f"hpo.backbones.{backbone}.pretrained", "`bakeoff sweep`")])
    return project.root / folder
