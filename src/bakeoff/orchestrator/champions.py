"""Champions: read the trials that could win, and select; or recall the last selection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from bakeoff.core.records import BackboneSelection, Champion, Refit, Trial
from bakeoff.core.selection.select import FINISHED, crown_champions, hold_contests, leaders_of
from bakeoff.core.selection.study_groups import SelectionRules
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.disk.inputs import MAX_RECORD_BYTES, UnsuitableFileError, read_regular
from bakeoff.disk.sealed import read_sealed, seal_json
from bakeoff.errors import DataError, NoChampionError, StorageError, UserError
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.record import Record
from bakeoff.stores.layouts import Layout, Sweep, count_metrics, load_layout
from bakeoff.stores.tracking import bounded_reader, reading

SAMPLE_RUNS = 500
MAX_METRICS = 20


class KeptSelection(Record):
    """The last selection that named a champion, kept for offline use.

    Attributes:
        selected_at: Time of the selection; UTC, ISO 8601.
        store: URI of the tracking store, without password.
        settings_digest: Digest of the settings that decide the selection.
    """

    format_version: Literal[4] = 4
    selected_at: str
    store: str
    settings_digest: str
    selections: dict[str, BackboneSelection]


def select_champions(project: Project) -> dict[str, BackboneSelection]:
    """Select the champion of every backbone of the configuration; offline, recall the last selection.

    Without a backbone nothing is asked, and the answer is empty.

    Raises:
        ConfigError: A run's objective has the opposite direction, or the layout is unknown.
        NoChampionError: An experiment does not exist.
        TrackingError: The store does not answer.
        UserError: Offline, and no selection for this configuration was kept.
    """
    if not project.settings.hpo.backbones:
        return {}
    if project.is_offline:
        return recall_selection(project).selections
    layout = load_layout(project.settings.tracking.layout, project.root)
    selections = _select(project, layout)
    for backbone, selection in selections.items():
        for flag in selection.champion.flags if selection.champion else ():
            warn(f"{backbone}: {flag.name}: {flag.detail}")
    if any(selection.champion for selection in selections.values()):
        kept = KeptSelection(
            selected_at=datetime.now(UTC).isoformat(timespec="seconds"),
            store=project.tracker.shown_uri,
            settings_digest=_digest_settings(project),
            selections=selections,
        )
        try:
            durable.write_bytes(project.selection_path, seal_json(kept.model_dump(mode="json")))
        except StorageError as error:  # a user may read a folder without the right to write
            warn(f"the selection could not be kept for --offline: {error}")
    return selections


def recall_selection(project: Project) -> KeptSelection:
    """Load the last selection that was made from the tracking store.

    Raises:
        DataError: The file is damaged, or of another version of bakeoff.
        UserError: No selection was kept, or it was made with other settings.
    """
    path = project.selection_path
    fix = "run `bakeoff champions` while the tracking store answers"
    if not path.is_file():
        raise UserError(f"{path}: no selection was kept for offline use; {fix}")
    try:
        kept = read_sealed(read_regular(path, MAX_RECORD_BYTES), KeptSelection)
    except (UnsuitableFileError, ValueError) as error:
        raise DataError(str(path), found=str(error), expected=f"a file that bakeoff wrote; {fix}") from error
    if kept.settings_digest != _digest_settings(project):
        raise UserError(
            f"{path}: the selection of {kept.selected_at} was made with other settings of tracking, "
            f"backbones, objective or selection; {fix}"
        )
    return kept


def _digest_settings(project: Project) -> str:
    settings = project.settings
    return digest_json(
        {
            "tracking": settings.tracking.model_dump(mode="json", include={"layout", "sweep_experiment"}),
            "selection": settings.selection.model_dump(mode="json"),
            "backbones": {name: row.recorded_as for name, row in settings.hpo.backbones.items()},
            "objective": settings.hpo.objective.model_dump(mode="json"),
        }
    )


def select_from(project: Project, layout: Layout, sweep: Sweep) -> dict[str, BackboneSelection]:
    """Select champions from the trials and refits of a whole sweep.

    Args:
        project: Project with the settings.
        layout: Layout of the sweep.
        sweep: Trials and refits.

    Raises:
        ConfigError: A run's objective has the opposite direction.
    """
    contests = hold_contests(list(project.settings.hpo.backbones), sweep.trials, _rules_of(project))
    crowned = crown_champions(contests, _refits_of(project, layout, sweep.refits, leaders_of(contests)))
    return _name_logged_metrics(crowned, project, layout)


def read_sweep(project: Project, layout: Layout) -> Sweep:
    """Read every trial and refit of the configured experiments; name backbones as the configuration does.

    Raises:
        NoChampionError: An experiment does not exist.
    """
    experiments = find_experiments(project)
    sweep = reading.read_sweep(project.tracker, experiments, layout, project.settings.hpo.objective.metric)
    names = _recorded_names(project)
    trials = tuple(reading.rename_backbone(trial, names) for trial in sweep.trials)
    return sweep.replace(trials=trials)


def _recorded_names(project: Project) -> dict[str, str]:
    """Map the recorded name of each backbone to its name in the configuration."""
    return {row.recorded_as or name: name for name, row in project.settings.hpo.backbones.items()}


def _select(project: Project, layout: Layout) -> dict[str, BackboneSelection]:
    """Select from the runs that the store's filters find, or from all runs if filters are not enough."""
    names = _recorded_names(project)
    if bounded_reader.find_field_tags(layout) is None or len(names) < len(project.settings.hpo.backbones):
        return select_from(project, layout, read_sweep(project, layout))
    experiments, objective = find_experiments(project), project.settings.hpo.objective
    reader = bounded_reader.BoundedReader(project.tracker, experiments, layout, names, objective)
    try:
        found = reader.read_contest(_rules_of(project))
    except ValueError:  # a name that cannot be written in a filter
        return select_from(project, layout, read_sweep(project, layout))
    contests = hold_contests(
        list(project.settings.hpo.backbones), found.trials, _rules_of(project), found.coverage
    )
    leaders = leaders_of(contests)
    crowned = crown_champions(contests, _refits_of(project, layout, reader.read_refits(leaders), leaders))
    return _name_logged_metrics(crowned, project, layout)


def _name_logged_metrics(
    selections: dict[str, BackboneSelection], project: Project, layout: Layout
) -> dict[str, BackboneSelection]:
    """Name the metrics that trials logged, where no trial of a backbone has the objective's."""
    metric = project.settings.hpo.objective.metric
    without = [
        name
        for name, selection in selections.items()
        if selection.all_groups and not any(group.n_valid for group in selection.all_groups)
    ]
    if not without:
        return selections
    logged: Counter[str] = Counter()
    for experiment_id, experiment in find_experiments(project).items():
        rows = reading.sample_rows(project.tracker, experiment_id, experiment, SAMPLE_RUNS)
        logged.update(count_metrics(rows, layout))
    if metric in logged:
        return selections
    names = ", ".join(name for name, _ in logged.most_common(MAX_METRICS)) or "none"
    reason = f"no finished trial has the metric {metric!r} of hpo.objective.metric; logged are: {names}"
    return {
        name: selection.replace(reason=reason) if name in without else selection
        for name, selection in selections.items()
    }


def _rules_of(project: Project) -> SelectionRules:
    objective = project.settings.hpo.objective
    return SelectionRules(project.settings.selection, objective.direction, objective.metric)


def find_experiments(project: Project) -> dict[str, str]:
    """Map the id of each sweep experiment to its name.

    Raises:
        NoChampionError: An experiment does not exist.
    """
    found = {}
    for name in project.settings.tracking.sweep_experiments:
        experiment_id = project.tracker.find_experiment(name)
        if experiment_id is None:
            others = ", ".join(project.tracker.list_experiments()) or "none"
            raise NoChampionError(
                [f"experiment {name!r} is not in {project.tracker.shown_uri}; it holds: {others}"],
                "run `bakeoff sweep`, or correct tracking.uri or tracking.sweep_experiment",
            )
        found[experiment_id] = name
    return found


def require_champions(selections: dict[str, BackboneSelection]) -> list[Champion]:
    """Return the champions of a selection; raise if there are none."""
    champions = [selection.champion for selection in selections.values() if selection.champion]
    if not champions:
        raise NoChampionError(
            [f"{selection.backbone}: {selection.reason}" for selection in selections.values()],
            "run `bakeoff sweep`, or check the selection settings",
        )
    return champions


def _refits_of(
    project: Project, layout: Layout, refits: Sequence[Refit], leaders: Sequence[Trial]
) -> Sequence[Refit]:
    """Return the leaders' refits; ask the store for their checkpoints unless tags are trusted."""
    wanted = {run_id for trial in leaders for run_id in (trial.run_id, *trial.duplicates)}
    mine = [refit for refit in refits if refit.of_trial_run_id in wanted]
    selection = project.settings.selection
    if selection.artifact_check_source == "tag" and layout.checkpoint.is_certain:
        return mine
    finished = [refit for refit in mine if refit.status == FINISHED]
    metric = project.settings.hpo.objective.metric
    looked = reading.find_checkpoints(project.tracker, layout, finished, metric)
    return [*(refit for refit in mine if refit.status != FINISHED), *looked]
