"""Champions: read all trials and refits from the tracking store and select; or recall the last selection."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from bakeoff import durable
from bakeoff.core.records import BackboneSelection, Champion
from bakeoff.core.selection import select_champions_for_backbones
from bakeoff.digest import digest_json
from bakeoff.errors import DataError, NoChampionError, StorageError, UserError
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.tracking import sweeps


class KeptSelection(Record):
    """The last selection that named a champion, kept for when the tracking store is not asked.

    Attributes:
        selected_at: UTC, ISO 8601.
        store: URI of the tracking store, without password.
        question: Digest of the settings that the selection answers.
    """

    format_version: Literal[1] = 1
    selected_at: str
    store: str
    question: str
    selections: dict[str, BackboneSelection]


def select_champions(project: Project) -> dict[str, BackboneSelection]:
    """Select the champion of every backbone of the configuration; offline, recall the last selection.

    Raises:
        ConfigError: A run's objective goes the other way than the configuration says.
        NoChampionError: The experiment is not there.
        TrackingError: The store does not answer.
        UserError: Offline, and no selection of this configuration was kept.
    """
    if project.is_offline:
        return recall_selection(project).selections
    selections = _select(project)
    if any(selection.champion for selection in selections.values()):
        kept = KeptSelection(
            selected_at=datetime.now(UTC).isoformat(timespec="seconds"),
            store=project.tracker.shown_uri,
            question=_question(project),
            selections=selections,
        )
        try:
            durable.write_json(project.selection_path, kept.model_dump(mode="json"))
        except StorageError as error:  # a look at a folder that may not be written to
            project.progress.say(f"warning: the selection is not kept for --offline: {error}")
    return selections


def recall_selection(project: Project) -> KeptSelection:
    """The last selection that was made from the tracking store.

    Raises:
        DataError: The file is broken.
        UserError: There is none, or it was made under other settings.
    """
    path = project.selection_path
    cure = "run `bakeoff champions` while the tracking store answers"
    if not path.is_file():
        raise UserError(f"{path}: no selection was kept, so nothing can be said offline; {cure}")
    try:
        kept = KeptSelection.model_validate_json(path.read_bytes())
    except ValidationError as error:
        expected = f"a file that bakeoff wrote; {cure}"
        raise DataError(str(path), found=f"{error.error_count()} faults", expected=expected) from error
    if kept.question != _question(project):
        raise UserError(
            f"{path}: the selection of {kept.selected_at} was made under other settings of tracking, "
            f"backbones, objective or selection; {cure}"
        )
    return kept


def _question(project: Project) -> str:
    settings = project.settings
    elsewhere = {"uri", "benchmark_experiment", "registered_model"}
    return digest_json(
        {
            "tracking": settings.tracking.model_dump(mode="json", exclude=elsewhere),
            "selection": settings.selection.model_dump(mode="json"),
            "backbones": sorted(settings.hpo.backbones),
            "objective": settings.hpo.objective.model_dump(mode="json"),
        }
    )


def _select(project: Project) -> dict[str, BackboneSelection]:
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
