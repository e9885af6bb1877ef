"""Check of the settings that only ``bakeoff sweep`` needs."""

from __future__ import annotations

from pathlib import Path

from bakeoff.core.config.settings import BUILT_IN_TRAINER
from bakeoff.errors import ConfigError
from bakeoff.measure.tasks.token_classification import ENTITY_F1
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
    if hpo.trainer == BUILT_IN_TRAINER and hpo.objective.metric != ENTITY_F1:
        faults.append(
            f"{project.place('hpo')}: hpo.objective.metric: found {hpo.objective.metric!r}; the built-in "
            f"trainer offers {ENTITY_F1!r}; name a trainer of your own in hpo.trainer for another metric"
        )
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


def pretrained_folder(project: Project, backbone: str) -> Path:
    """Return the folder of a backbone's pretrained model."""
    folder = project.settings.hpo.backbones[backbone].pretrained
    if folder is None:
        raise ConfigError([project.missing(f"hpo.backbones.{backbone}.pretrained", "`bakeoff sweep`")])
    return project.root / folder
