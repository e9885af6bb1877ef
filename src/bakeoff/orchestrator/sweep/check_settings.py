"""What a sweep needs of the configuration beyond what reading one needs."""

from __future__ import annotations

from pathlib import Path

from bakeoff.core.config.settings import BUILT_IN_TRAINER
from bakeoff.errors import ConfigError
from bakeoff.measure.tasks.token_classification import ENTITY_F1
from bakeoff.orchestrator.project import Project
from bakeoff.stores.layouts import OWN_LAYOUT


def check_sweep_settings(project: Project) -> None:
    """See that everything is there that making a sweep needs.

    Raises:
        ConfigError: With every setting that is missing, or of no use to a sweep.
    """
    hpo, tracking = project.settings.hpo, project.settings.tracking
    faults = [
        project.missing(key, "`bakeoff sweep` needs it")
        for key, is_there in {
            "data.train": project.settings.data.train is not None,
            "data.test": project.settings.data.test is not None,
            "hpo.search_space": bool(hpo.search_space),
            **{f"hpo.backbones.{name}.pretrained": row.pretrained for name, row in hpo.backbones.items()},
        }.items()
        if not is_there
    ]
    if hpo.trainer == BUILT_IN_TRAINER and hpo.objective.metric != ENTITY_F1:
        faults.append(
            f"{project.place('hpo')}: hpo.objective.metric: found {hpo.objective.metric!r}; the built-in "
            f"trainer offers {ENTITY_F1!r}; name a trainer of your own in hpo.trainer for another metric"
        )
    if tracking.layout != OWN_LAYOUT:
        faults.append(
            f"{project.place('tracking')}: tracking.layout: found {tracking.layout!r}; `bakeoff sweep` "
            f"writes the layout {OWN_LAYOUT!r} and could not find its own runs again"
        )
    if len(tracking.sweep_experiments) > 1:
        faults.append(
            f"{project.place('tracking')}: tracking.sweep_experiment: found "
            f"{len(tracking.sweep_experiments)} names; `bakeoff sweep` writes to one"
        )
    if faults:
        raise ConfigError(faults)


def pretrained_folder(project: Project, backbone: str) -> Path:
    """Folder of a backbone's pretrained model.

    Raises:
        ConfigError: The configuration names none.
    """
    folder = project.settings.hpo.backbones[backbone].pretrained
    if folder is None:
        raise ConfigError(
            [project.missing(f"hpo.backbones.{backbone}.pretrained", "`bakeoff sweep` needs it")]
        )
    return project.root / folder
