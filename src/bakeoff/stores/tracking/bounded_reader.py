"""The bounded read: MLflow's filters answer the selection, so that bakeoff reads few of many trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bakeoff.core.config.settings import ObjectiveSettings
from bakeoff.core.records import Refit, Trial
from bakeoff.core.selection.query import FieldName, ReadTrials, SearchRules, TrialPage, TrialQuery
from bakeoff.core.selection.select import FINISHED
from bakeoff.core.selection.study_groups import SelectionRules
from bakeoff.core.selection.trial_search import search_contest
from bakeoff.stores.layouts import Layout, RunRow, read_rows
from bakeoff.stores.layouts.layout import Match, Sources
from bakeoff.stores.tracking import queries
from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.queries import MAX_RUN_IDS, PAGE_SIZE, Page, Query
from bakeoff.stores.tracking.reading import read_row, rename_backbone

# Reading this many runs takes as long as a query for the refits of one leader.
REFITS_PER_LEADER = 50


def find_field_tags(layout: Layout) -> Mapping[FieldName, str] | None:
    """Find the tag of each field; None if no filter can single out the trials of a layout.

    A filter can do it under four conditions. Tags of one value identify trials and refits. Each field that
    selection uses has at most one tag, on the trial itself. Backbone and study key have one. A refit names
    its trial. Trials have no number, since only a reader of all trials finds duplicates.
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
        or layout.trial_number
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
    """Reader of the trials that could become champions, and of their refits.

    Args:
        tracker: Tracking store.
        experiments: Name of each experiment by its id.
        layout: Layout for which ``find_field_tags`` finds the tags.
        backbones: Name in the configuration by recorded name.
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

    def read_contest(self, selection: SelectionRules) -> ReadTrials:
        """Read every trial that could become a champion, and few others.

        Raises:
            ValueError: No filter can carry one of the names.
        """
        metric_name = self._objective.metric
        rules = SearchRules(selection, metric_name, frozenset(self._tags))
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
        """Read the refits of some trials: all refits if they are few, otherwise one query for each trial."""
        match, source = self._layout.refit.match, self._layout.refit.of_trial[0]
        if match is None or not leaders:
            return []
        tag, stage = source.tag or "", _stage_conditions(match)
        # Few runs have the tag at all. If the store filters by it first, it reads only these.
        rows, is_cut = self._read_rows([queries.differs(tag, ""), *stage], REFITS_PER_LEADER * len(leaders))
        if is_cut:
            rows = []
            for trial in leaders:
                rows += self._read_rows([queries.equals(tag, trial.run_id), *stage])[0]
        return list(read_rows(rows, self._layout, self._objective.metric).refits)

    def _read_rows(self, conditions: Sequence[str], max_runs: int | None = None) -> tuple[list[RunRow], bool]:
        """Read runs that meet conditions, until there are enough; return whether there are more."""
        rows: list[RunRow] = []
        query = Query(tuple(self._experiments), conditions, page_size=max_runs)
        for page in self._tracker.read_pages(query):
            rows += self._rows(page)
            if max_runs is not None and len(rows) >= max_runs:
                return rows, not page.is_last
        return rows, False

    def _rows(self, page: Page) -> list[RunRow]:
        return [read_row(run, self._experiments[run.info.experiment_id]) for run in page.runs]

    def _answer(self, query: TrialQuery) -> TrialPage:
        """Answer a query for trials, page by page until there are enough."""
        # If no run at all has a different value, no trial has one. This query compares one tag only.
        if query.unlike and not query.equals and not self._read_rows(self._translate(query), 1)[0]:
            return TrialPage((), False)
        size = min(query.max_runs, PAGE_SIZE) if query.max_runs else PAGE_SIZE
        stored = Query(
            tuple(self._experiments),
            # SQLite begins with the first condition, so that is the one that fewest runs meet.
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

    def _leave_out_nested(self, rows: Sequence[RunRow]) -> list[RunRow]:
        """Drop runs nested in a trial, which are not trials; look up each parent once."""
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
    """Return whether tags of one value alone define a part."""
    return (
        all(len(values) == 1 for values in part.tags.values())
        and bool(part.tags)
        and not (part.has_tags or part.lacks_tags or part.has_params or part.has_metrics)
        and part.has_parent is None
    )
