"""Champions: read every trial and refit from the tracking store, then select."""

from __future__ import annotations

from bakeoff.core.records import BackboneSelection, Champion
from bakeoff.core.selection import select_champions_for_backbones
from bakeoff.errors import NoChampionError
from bakeoff.orchestrator.project import Project
from bakeoff.stores.tracking import sweeps


def select_champions(project: Project) -> dict[str, BackboneSelection]:
    """Select the champion of every backbone of the configuration, from the tracking store alone.

    Raises:
        ConfigError: A run's objective goes the other way than the configuration says.
        NoChampionError: The experiment is not there.
        TrackingError: The store does not answer.
    """
    settings = project.settings
    name = settings.tracking.sweep_experiment
    experiment_id = project.tracker.find_experiment(name)
    if experiment_id is None:
        others = ", ".join(project.tracker.list_experiments()) or "none"
        raise NoChampionError(
            [f"experiment {name!r} is not in {project.tracker.shown_uri}; it holds: {others}"],
            "run `bakeoff sweep`, or correct tracking.uri or tracking.sweep_experiment",
        )
    trials = list(sweeps.read_trials(project.tracker, experiment_id, name))
    refits = list(
        sweeps.read_refits(
            project.tracker,
            experiment_id,
            look_into_store=settings.selection.artifact_check_source == "store",
        )
    )
    return select_champions_for_backbones(
        list(settings.hpo.backbones), trials, refits, settings.selection, settings.hpo.objective.direction
    )


def require_champions(selections: dict[str, BackboneSelection]) -> list[Champion]:
    """The champions that there are.

    Raises:
        NoChampionError: There is none.
    """
    champions = [selection.champion for selection in selections.values() if selection.champion]
    if not champions:
        raise NoChampionError(
            [f"{selection.backbone}: {selection.reason}" for selection in selections.values()],
            "run `bakeoff sweep`, or see the selection settings",
        )
    return champions
