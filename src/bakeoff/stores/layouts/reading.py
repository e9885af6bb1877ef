"""Apply a layout: rows in, trials and refits out. Pure, so that tests need no store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bakeoff.core.identity import build_trial_key_hash
from bakeoff.core.records import Evaluation, Refit, Trial
from bakeoff.core.selection.study_groups import OLDEST_SCHEMA
from bakeoff.disk.digest import digest_json
from bakeoff.record import Record
from bakeoff.stores.layouts.layout import Layout, Source, Sources
from bakeoff.stores.layouts.row import RunRow

FINISHED = "FINISHED"
_DIRECTIONS = {"max": "maximize", "min": "minimize"}


@dataclass(frozen=True, slots=True)
class _Found:
    """Text at a place.

    Attributes:
        text: As recorded.
        counts: The part that counts.
    """

    text: str
    counts: str
    source: Source


class Sweep(Record):
    """Trials and refits in some experiments.

    Attributes:
        n_runs: Number of runs read.
    """

    trials: tuple[Trial, ...]
    refits: tuple[Refit, ...]
    n_runs: int


def read_rows(rows: Iterable[RunRow], layout: Layout, metric: str) -> Sweep:
    """Read trials and refits.

    Args:
        rows: All active runs of the experiments, or the results of ``layout.queries``, in any order.
        layout: Layout of their writer.
        metric: The objective's name, for writers that do not record it.
    """
    table = Parts(rows, layout, metric)
    trials = tuple(table.read_trial(row) for row in table.trials)
    if layout.refit.is_trial:
        refits = [table.read_refit(row, row.run_id) for row in table.trials]
    else:
        by_key: dict[str, list[Trial]] = defaultdict(list)
        for trial in trials:
            by_key[trial.trial_key_hash].append(trial)
        refits = [
            table.read_refit(row, trial_run_id)
            for row in table.refits
            for trial_run_id in table.find_trials_of(row, by_key)
        ]
    return Sweep(trials=trials, refits=tuple(refits), n_runs=table.n_runs)


def sort_rows(rows: Iterable[RunRow], layout: Layout) -> Parts:
    """Sort runs into trials and refits."""
    return Parts(rows, layout, "")


class Parts:
    """Rows by part, read through a layout.

    Attributes:
        trials: Trial runs, the earliest first.
        refits: Refit runs, the earliest first.
    """

    def __init__(self, rows: Iterable[RunRow], layout: Layout, metric: str) -> None:
        ordered = sorted(rows, key=lambda row: row.age)
        self.layout = layout
        self.n_runs = len(ordered)
        self._metric = metric
        self._by_id = {row.run_id: row for row in ordered}
        self._children: dict[str, list[RunRow]] = defaultdict(list)
        for row in ordered:
            if row.parent is not None:
                self._children[row.parent].append(row)
        self.trials = [row for row in ordered if self._is_trial(row)]
        match = layout.refit.match
        self.refits = [row for row in ordered if match is not None and row.plays(match)]
        self._refits_below: dict[str, list[RunRow]] = defaultdict(list)
        for row in self.refits:
            if row.parent is not None:
                self._refits_below[row.parent].append(row)
        self._refit_of = {
            named: row for row in reversed(self.refits) if (named := self._trial_named_by(row)) is not None
        }
        self._folds_beside: dict[tuple[str, str], list[RunRow]] = defaultdict(list)
        if layout.fold is not None and layout.fold.by_trial_number:
            for row in ordered:
                number = self._text(row, layout.trial_number)
                if row.parent is not None and number and row.plays(layout.fold):
                    self._folds_beside[row.parent, number].append(row)

    @property
    def explained(self) -> set[str]:
        """Ids of all trials, folds and refits, and of the runs above and below them."""
        ids = {row.run_id for row in (*self.trials, *self.refits)}
        ids |= {
            row.parent for row in (*self.trials, *self.refits) if row.parent in self._by_id and row.parent
        }
        below = (row for trial in self.trials for row in (*self.below(trial), *self._folds_of(trial)))
        return ids | {row.run_id for row in below}

    def below(self, trial: RunRow) -> Sequence[RunRow]:
        """Return the runs nested in a trial, the earliest first."""
        return self._children[trial.run_id]

    def above(self, trial: RunRow) -> RunRow | None:
        """Return the run around a trial, if it was read."""
        return self._by_id.get(trial.parent or "")

    def _folds_of(self, trial: RunRow) -> Sequence[RunRow]:
        """Return the fold runs of a trial: those nested in it, or else those next to it with its number."""
        fold = self.layout.fold
        if fold is None:
            return ()
        nested = [child for child in self._children[trial.run_id] if child.plays(fold)]
        number = self._text(trial, self.layout.trial_number)
        return nested or self._folds_beside.get((trial.parent or "", number), ())

    def _trial_named_by(self, refit: RunRow) -> str | None:
        """Return the run id of the trial that a refit names; it may name a run nested in the trial."""
        named = _first(refit, self.layout.refit.of_trial)
        run = self._by_id.get(named or "")
        if run is None or not self.layout.values_on_child or self._is_trial(run):
            return named
        around = self._by_id.get(run.parent or "")
        return around.run_id if around is not None and self._is_trial(around) else named

    def _looks_like_trial(self, row: RunRow) -> bool:
        is_fold = self.layout.fold is not None and row.plays(self.layout.fold)
        return not is_fold and row.plays(self.layout.trial)

    def _is_trial(self, row: RunRow) -> bool:
        """Return whether a run is a trial; a run nested in a trial only holds its values."""
        parent = self._by_id.get(row.parent or "")
        return self._looks_like_trial(row) and not (parent is not None and self._looks_like_trial(parent))

    def _find(self, row: RunRow, sources: Sources) -> _Found | None:
        """Find the first text."""
        for source in sources:
            text = self._look_at(row, source)
            if text:
                counts = text.replace("\\", "/").rstrip("/").rpartition("/")[2] if source.last_part else text
                return _Found(text, counts, source)
        return None

    def _look_at(self, row: RunRow, source: Source) -> str | None:
        if source.of == "run":
            return row.find(source)
        if source.of == "parent":
            parent = self._by_id.get(row.parent or "")
            return parent.find(source) if parent else None
        own = self._refit_of.get(row.run_id)
        candidates = [own] if own else self._refits_below[row.parent or ""]
        return next((text for refit in candidates if (text := refit.find(source))), None)

    def _text(self, row: RunRow, sources: Sources, default: str = "") -> str:
        found = self._find(row, sources)
        return found.counts.strip() if found else default

    def _holder(self, trial: RunRow, metric: str) -> RunRow:
        """Find the run with metric and params: the trial, or the last finished run nested in it."""
        if not self.layout.values_on_child or metric in trial.metrics:
            return trial
        fold = self.layout.fold
        children = [
            child
            for child in self._children[trial.run_id]
            if child.status == FINISHED and metric in child.metrics and not (fold and child.plays(fold))
        ]
        return children[-1] if children else trial

    def _fold_metrics(self, trial: RunRow, metric: str) -> tuple[float, ...]:
        if self.layout.fold_metric is not None:
            values: list[float] = []
            while (name := _fill(self.layout.fold_metric, metric, len(values))) in trial.metrics:
                values.append(trial.metrics[name])
            if values:
                return tuple(values)
        fold = self.layout.fold
        if fold is None:
            return ()
        folds = {
            child.tags[fold.number]: child.metrics[metric]
            for child in self._folds_of(trial)
            if fold.number in child.tags and metric in child.metrics
        }
        numbers = sorted(folds, key=lambda text: (not text.isdecimal(), int(text) if text.isdecimal() else 0))
        return tuple(folds[number] for number in numbers)

    def name_objective(self, trial: RunRow) -> str:
        """Return the objective's name as recorded; an empty text if it was not."""
        return self._text(trial, self.layout.metric)

    def read_trial(self, row: RunRow) -> Trial:
        """Read a trial from its run."""
        layout = self.layout
        metric = self._text(row, layout.metric, self._metric)
        backbone = self._find(row, layout.backbone)
        holder = self._holder(row, metric)
        params = dict(row.params or holder.params)
        recorded = self._text(row, layout.study_key)
        study_key = recorded or _derive_study_key(layout, row, backbone.text if backbone else "")
        direction = self._text(row, layout.direction).lower()
        folds = self._fold_metrics(row, metric)
        return Trial(
            run_id=row.run_id,
            status=row.status,
            backbone=backbone.counts if backbone else "",
            backbone_is_experiment=backbone is not None and backbone.source.field == "experiment_name",
            study_key_hash=study_key,
            study_key_is_derived=not recorded,
            trial_key_hash=self._text(row, layout.trial_key) or build_trial_key_hash(study_key, params),
            schema_version=self._text(row, layout.schema_version, OLDEST_SCHEMA)
            if recorded
            else OLDEST_SCHEMA,
            sweep_run_id=row.parent or row.run_id,  # a writer without parents: the trial is its own sweep
            experiment_id=row.experiment_id,
            experiment_name=row.experiment_name,
            start_time_ms=row.start_time_ms,
            metric=holder.metrics.get(metric),
            metric_name=metric,
            direction=_DIRECTIONS.get(direction, direction) or None,
            data_fingerprint=self._text(row, layout.data_fingerprint),
            eval_fingerprint=self._text(row, layout.eval_fingerprint),
            fold_metrics=folds,
            evaluation=_name_evaluation(len(folds), layout),
            params=params,
            number=self._text(row, layout.trial_number) or None,
        )

    def find_trials_of(self, refit: RunRow, by_key: Mapping[str, Sequence[Trial]]) -> Sequence[str]:
        """Find the run ids of a refit's trials: the one that it names, else those with its key."""
        named = self._trial_named_by(refit)
        if named or not self.layout.refit.by_trial_key:
            return [named] if named else []
        key, study = self._text(refit, self.layout.trial_key), self._text(refit, self.layout.study_key)
        same = by_key.get(key, ()) if key else ()
        return [trial.run_id for trial in same if study in ("", trial.study_key_hash)]

    def read_refit(self, row: RunRow, trial_run_id: str) -> Refit:
        """Read the refit of a trial from its run."""
        checkpoint, test_metric = self.layout.checkpoint, self.layout.refit.test_metric
        metric = self._text(row, self.layout.metric, self._metric)
        return Refit(
            run_id=row.run_id,
            status=row.status,
            of_trial_run_id=trial_run_id,
            start_time_ms=row.start_time_ms,
            artifact_available=checkpoint.available is not None
            and row.tags.get(checkpoint.available, "").lower() == "true",
            checkpoint_artifact=checkpoint.artifacts[0],
            checkpoint_digest=row.tags.get(checkpoint.digest) if checkpoint.digest else None,
            test_metric=row.metrics.get(_fill(test_metric, metric)) if test_metric else None,
        )


def _derive_study_key(layout: Layout, row: RunRow, backbone: str) -> str:
    """Derive a key from what makes trials comparable, for a writer that records none."""
    return digest_json(
        {
            "derived": "no study key was recorded",
            "layout": layout.name,
            "experiment_id": row.experiment_id,
            "parent": row.parent,
            "backbone": backbone,
        }
    )


def _name_evaluation(n_folds: int, layout: Layout) -> Evaluation:
    if n_folds > 1:
        return "cross-validation"
    return "single split" if n_folds else layout.evaluation


def _first(row: RunRow, sources: Sources) -> str | None:
    return next((text.strip() for source in sources if (text := row.find(source))), None)


def _fill(pattern: str, metric: str, fold: int = 0) -> str:
    return pattern.replace("{metric}", metric).replace("{fold}", str(fold))
