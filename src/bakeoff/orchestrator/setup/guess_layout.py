"""Guess: the layout that probably fits the runs of an unknown writer. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bakeoff.orchestrator.setup.observe import describe_varying, own_tags
from bakeoff.record import Record
from bakeoff.stores.layouts import RunRow
from bakeoff.stores.layouts.layout import Source

# Names under which training code records the pretrained model, the likeliest first.
BACKBONE_NAMES = (
    "backbone",
    "model_name",
    "base_model",
    "pretrained_model_name_or_path",
    "model_name_or_path",
    "model",
    "arch",
)
MAX_NAME = 250
MAX_KINDS = 3
_FOLD = re.compile(r"(?:^|[._-])(?:cv_?)?fold(?:_?(?:idx|index|id|number|no))?$", re.IGNORECASE)
_NUMBER = re.compile(r"(?:^|[._-])(?:trial[._-]?)?number$|(?:^|[._-])trial(?:_?(?:id|idx))?$", re.IGNORECASE)
_KIND = re.compile(r"kind|stage|type|role|phase", re.IGNORECASE)
_REFIT = re.compile(r"refit|final", re.IGNORECASE)
_CHECKPOINT = re.compile(r"checkpoint|ckpt|model|weights|\.tar|\.tgz|\.zip", re.IGNORECASE)
_STEP = re.compile(r"\d+(?=/?$)")


class TagValues(Record):
    """Tag with some of its values."""

    tag: str
    values: tuple[str, ...]


class RefitGuess(Record):
    """Runs that are probably refits.

    Attributes:
        of_trial: Tag with the run id of the trial; None if no tag holds one.
    """

    match: TagValues
    of_trial: str | None


class LayoutGuess(Record):
    """Guess of a layout for one experiment.

    Attributes:
        experiment: Name of the experiment.
        n_runs: Number of sampled runs.
        n_trials: Number of sampled runs that are probably trials.
        kind: Tag that marks trials; None if no tag does.
        metric: Metric that is probably the objective; None if no run has a metric.
        metric_source: Place that names the objective.
        has_parent: Whether trials are nested.
        fold: Tag with the number of a fold.
        folds_beside: Whether folds are nested in the same run as their trial.
        number: Place of the trial's number.
        backbone: Places that probably name the backbone.
        varying: Params of trials with several values, in words.
        artifacts: Artifacts that are probably checkpoints.
    """

    experiment: str
    n_runs: int
    n_trials: int
    kind: TagValues | None
    metric: str | None
    metric_source: Source | None
    has_parent: bool
    fold: str | None
    folds_beside: bool
    number: Source | None
    backbone: tuple[Source, ...]
    varying: str
    refit: RefitGuess | None
    artifacts: tuple[str, ...]


def guess_layout(
    experiment: str, rows: Sequence[RunRow], metrics: Sequence[str], artifacts: Sequence[str]
) -> LayoutGuess:
    """Guess the layout of some runs.

    Args:
        experiment: Name of the experiment.
        rows: Some of its runs.
        metrics: Metrics that may be the objective, the likeliest first.
        artifacts: Artifacts of some runs; a folder ends with a slash.
    """
    fold = _find_fold(rows)
    refit = _find_refits(rows)
    refits = {row.run_id for row in rows if refit and row.tags.get(refit.match.tag) in refit.match.values}
    metric = next((name for name in metrics if len(name) <= MAX_NAME), None)
    candidates = [row for row in rows if row.run_id not in refits and not (fold and fold in row.tags)]
    trials = [row for row in candidates if metric in row.metrics]
    others = [row for row in candidates if metric not in row.metrics]
    ids = {row.run_id for row in trials}
    parents = {row.run_id: row for row in rows}
    above = [parent for row in trials if (parent := parents.get(row.parent or ""))]
    return LayoutGuess(
        experiment=experiment,
        n_runs=len(rows),
        n_trials=len(trials),
        kind=_find_kind(trials, others),
        metric=metric,
        metric_source=_find_name_of(metric, above),
        has_parent=bool(trials) and all(row.parent for row in trials),
        fold=fold,
        folds_beside=fold is not None
        and not any(row.parent in ids for row in rows if fold in row.tags and row.parent),
        number=_find_number(trials),
        backbone=tuple(_find_backbones(trials or candidates, above))[:MAX_KINDS],
        varying=describe_varying(row.params for row in trials or candidates),
        refit=refit,
        artifacts=_name_checkpoints(artifacts),
    )


def _find_fold(rows: Sequence[RunRow]) -> str | None:
    return next(
        (name for row in rows for name, text in own_tags(row).items() if _FOLD.search(name) and text), None
    )


def _find_refits(rows: Sequence[RunRow]) -> RefitGuess | None:
    ids = {row.run_id for row in rows}
    for row in rows:
        for name, text in own_tags(row).items():
            if _KIND.search(name) and _REFIT.search(text) and len(name) <= MAX_NAME:
                of_trial = next((tag for tag, found in own_tags(row).items() if found in ids), None)
                return RefitGuess(match=TagValues(tag=name, values=(text,)), of_trial=of_trial)
    return None


def _find_kind(trials: Sequence[RunRow], others: Sequence[RunRow]) -> TagValues | None:
    """Find a tag whose few values all trials have and no other run has."""
    names = set(own_tags(trials[0])) if trials else set()
    for name in sorted(names, key=lambda name: (_KIND.search(name) is None, name)):
        values = {row.tags.get(name, "") for row in trials}
        is_own = values.isdisjoint(row.tags.get(name) for row in others)
        if "" not in values and len(values) <= MAX_KINDS and is_own and len(name) <= MAX_NAME:
            return TagValues(tag=name, values=tuple(sorted(values)))
    return None


def _find_name_of(metric: str | None, above: Sequence[RunRow]) -> Source | None:
    """Find the param or tag of a parent that names the objective."""
    for row in above:
        for name, text in row.params.items():
            if text == metric:
                return Source(param=name, of="parent")
        for name, text in own_tags(row).items():
            if text == metric:
                return Source(tag=name, of="parent")
    return None


def _find_number(trials: Sequence[RunRow]) -> Source | None:
    for row in trials:
        for name, text in own_tags(row).items():
            if _NUMBER.search(name) and text.isdecimal():
                return Source(tag=name)
        for name, text in row.params.items():
            if _NUMBER.search(name) and text.isdecimal():
                return Source(param=name)
    return None


def _find_backbones(trials: Sequence[RunRow], above: Sequence[RunRow]) -> Iterator[Source]:
    for name in BACKBONE_NAMES:
        tags = [texts for row in trials if (texts := row.tags.get(name))]
        if tags:
            yield Source(tag=name, last_part=_is_path(tags))
        params = [texts for row in trials if (texts := row.params.get(name))]
        if params:
            yield Source(param=name, last_part=_is_path(params))
    for name in BACKBONE_NAMES:
        found = [text for row in above if (text := row.params.get(name))]
        if found:
            yield Source(param=name, of="parent", last_part=_is_path(found))


def _is_path(texts: Sequence[str]) -> bool:
    return any("/" in text or "\\" in text for text in texts)


def _name_checkpoints(artifacts: Sequence[str]) -> tuple[str, ...]:
    """Return patterns for the artifacts that are probably checkpoints; a step number becomes a ``*``."""
    likely = sorted((name for name in artifacts if _CHECKPOINT.search(name)), key=_by_likelihood)
    patterns = dict.fromkeys(_STEP.sub("*", name).rstrip("/") for name in likely)
    return tuple(name for name in patterns if name and len(name) <= MAX_NAME)


def _by_likelihood(name: str) -> tuple[bool, str]:
    return ("checkpoint" not in name.lower(), name)
