"""The bounded read: MLflow's filters answer what selection asks, so that few of many trials are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bakeoff.core.config.settings import ObjectiveSettings, SelectionSettings
from bakeoff.core.records import Refit, Trial
from bakeoff.core.selection.branch_and_bound import search_contest
from bakeoff.core.selection.query import FieldName, ReadTrials, Rules, TrialPage, TrialQuery
from bakeoff.core.selection.select import FINISHED
from bakeoff.stores.layouts import Layout, Row, read_rows
from bakeoff.stores.layouts.layout import Match, Sources
from bakeoff.stores.tracking import queries
from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.queries import MAX_RUN_IDS, PAGE_SIZE, Page, Query
from bakeoff.stores.tracking.reading import read_row, rename_backbone

# Reading so many runs takes as long as asking for one leader's.
REFITS_PER_LEADER = 50


def find_field_tags(layout: Layout) -> Mapping[FieldName, str] | None:
    """The tag in which each field is recorded, or None for a layout whose trials no filter tells from others.

    A filter is enough if trials and refits are known by tags of one value, every field by which selection
    tells trials apart has one tag of the trial's own at most, backbone and study key have it, and a refit
    names its trial.
    """
    recorded: dict[FieldName, Sources] = {
        "backbone": layout.backbone,
        "study_key": layout.study_key,
        "schema_version": layout.schema_version,
        "metric": layout.metric,
        "direction": layout.direction,
    }
    sources = {name: places for name, places in recorded.items() if places}
    if (
        "study_key" not in sources
        or not all(_is_own_tag(places) for places in sources.values())
        or layout.refit.match is None
        or layout.refit.by_trial_key
        or not _is_own_tag(layout.refit.of_trial)
        or not all(_is_filter(part) for part in (layout.trial, layout.refit.match))
        or not layout.is_read_by_tags
    ):
        return None
    return {name: places[0].tag or "" for name, places in sources.items()}


class BoundedReader:
    """Reads of some experiments the trials that could become champions, and their refits.

    Args:
        tracker: Where from.
        experiments: Name of each experiment by its id.
        layout: One of which ``find_field_tags`` knows the tags.
        backbones: Name in the configuration by the name as recorded.
        objective: Metric and direction.
    """

    def __init__(
        self,
        tracker: Tracker,
        experiments: Mapping[str, str],
        layout: Layout,
        backbones: Mapping[str, str],
        objective: ObjectiveSettings,
    ) -> None:
        self._tracker = tracker
        self._experiments = experiments
        self._layout = layout
        self._tags = find_field_tags(layout) or {}
        self._names = backbones
        self._recorded = {name: recorded for recorded, name in backbones.items()}
        self._objective = objective
        self._trial = _stage_conditions(layout.trial)
        self._is_trial: dict[str, bool] = {}

    def read_contest(self, settings: SelectionSettings) -> ReadTrials:
        """Read every trial that could become a champion, and few others.

        Raises:
            TrackingError: The store does not answer.
            ValueError: A name that no filter can carry.
        """
        objective = self._objective
        rules = Rules(settings, objective.direction, objective.metric, frozenset(self._tags))
        search = search_contest(tuple(self._recorded), rules)
        query = next(search)
        while True:
            answer = self._answer(query)
            try:
                query = search.send(answer)
            except StopIteration as end:
                contest: ReadTrials = end.value
                return contest

    def read_refits(self, leaders: Sequence[Trial]) -> list[Refit]:
        """The refits of some trials: few refits are looked through, of many each trial's are asked for.

        Raises:
            TrackingError: The store does not answer.
        """
        match, source = self._layout.refit.match, self._layout.refit.of_trial[0]
        if match is None or not leaders:
            return []
        tag, stage = source.tag or "", _stage_conditions(match)
        # Few runs have the tag at all: where the store begins with it, it looks at these alone.
        rows, is_cut = self._read_rows([queries.differs(tag, ""), *stage], REFITS_PER_LEADER * len(leaders))
        if is_cut:
            rows = []
            for trial in leaders:
                rows += self._read_rows([queries.equals(tag, trial.run_id), *stage])[0]
        return list(read_rows(rows, self._layout, self._objective.metric).refits)

    def _read_rows(self, conditions: Sequence[str], max_runs: int | None = None) -> tuple[list[Row], bool]:
        """Runs that meet conditions, page by page until there are enough; and whether there are more."""
        rows: list[Row] = []
        query = Query(tuple(self._experiments), conditions, page_size=max_runs)
        for page in self._tracker.read_pages(query):
            rows += self._rows(page)
            if max_runs is not None and len(rows) >= max_runs:
                return rows, not page.is_last
        return rows, False

    def _rows(self, page: Page) -> list[Row]:
        return [read_row(run, self._experiments[run.info.experiment_id]) for run in page.runs]

    def _answer(self, query: TrialQuery) -> TrialPage:
        """Ask the store for the trials that are meant, page by page until there are enough."""
        # Where no run at all is unlike the others no trial is, and the store has to compare one tag only.
        if query.unlike and not query.equals and not self._read_rows(self._translate(query), 1)[0]:
            return TrialPage((), False)
        size = min(query.max_runs, PAGE_SIZE) if query.max_runs else PAGE_SIZE
        stored = Query(
            tuple(self._experiments),
            # SQLite begins with the first: the one that fewest runs meet is put there.
            [*self._translate(query), *self._trial, f"attributes.status = '{FINISHED}'"],
            page_size=size,
        )
        found: list[Trial] = []
        is_cut = False
        for page in self._tracker.read_pages(stored):
            rows = self._leave_out_nested(self._rows(page))
            trials = read_rows(rows, self._layout, self._objective.metric).trials
            found += [rename_backbone(trial, self._names) for trial in trials]
            is_cut = not page.is_last
            if query.max_runs is not None and len(found) >= query.max_runs:
                break
        return TrialPage(tuple(found), is_cut)

    def _translate(self, query: TrialQuery) -> list[str]:
        at_least, worse = (">=", "<") if self._objective.direction == "maximize" else ("<=", ">")
        conditions = [queries.begins_with(query.id_prefix)] if query.id_prefix else []
        if query.reaches is not None:
            conditions.append(queries.compares(self._objective.metric, at_least, query.reaches))
        if query.short_of is not None:
            conditions.append(queries.compares(self._objective.metric, worse, query.short_of))
        for name, texts in query.unlike.items():
            conditions += [queries.differs(self._tags[name], text) for text in texts]
        conditions += [queries.lacks(self._tags[name]) for name in query.lacks]
        conditions += [
            queries.equals(self._tags[name], self._recorded.get(text, text) if name == "backbone" else text)
            for name, text in reversed(list(query.equals.items()))
        ]
        return conditions

    def _leave_out_nested(self, rows: Sequence[Row]) -> list[Row]:
        """A trial that is nested in a trial is none; whether a parent is one is asked once."""
        unknown = sorted({row.parent for row in rows if row.parent} - self._is_trial.keys())
        for start in range(0, len(unknown), MAX_RUN_IDS):
            among = unknown[start : start + MAX_RUN_IDS]
            self._is_trial |= dict.fromkeys(among, False)
            query = Query(tuple(self._experiments), [queries.list_run_ids(among), *self._trial])
            for page in self._tracker.read_pages(query):
                self._is_trial |= {run.info.run_id: True for run in page.runs}
        return [row for row in rows if not self._is_trial.get(row.parent or "")]


def _stage_conditions(part: Match) -> list[str]:
    return [queries.equals(tag, values[0]) for tag, values in part.tags.items()]


def _is_own_tag(places: Sources) -> bool:
    return (
        len(places) == 1 and places[0].tag is not None and places[0].of == "run" and not places[0].last_part
    )


def _is_filter(part: Match) -> bool:
    """Whether tags of one value are all that tells who plays a part."""
    return (
        all(len(values) == 1 for values in part.tags.values())
        and bool(part.tags)
        and not (part.has_tags or part.lacks_tags or part.has_params or part.has_metrics)
        and part.has_parent is None
    )
