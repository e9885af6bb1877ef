"""Recognise the writer of some runs: the built-in layout that explains most of them wins."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from bakeoff.record import Record
from bakeoff.stores.layouts.layout import Layout, Match
from bakeoff.stores.layouts.reading import sort_rows
from bakeoff.stores.layouts.row import RunRow

SURE_SHARE = 0.5
_FOLD = re.compile(r"(?:^|[^a-z])(?:fold|split)[^a-z0-9]?\d+(?:$|[^0-9])", re.IGNORECASE)


class Recognition(Record):
    """The best layout for a sample of runs.

    Attributes:
        n_runs: Runs in the sample.
        n_trials: Trials among them.
        n_explained: Trials, folds and refits among them, and the runs above and below these.
        is_sure: Whether this layout explains at least half of the runs, and no other explains as many.
        why: The evidence, in one line.
    """

    layout: str
    n_runs: int
    n_trials: int
    n_explained: int
    is_sure: bool
    why: str


def recognise(rows: Sequence[RunRow], layouts: Sequence[Layout]) -> Recognition | None:
    """Find the layout that fits a sample best, or None if no layout finds a trial.

    Args:
        rows: Some runs of one experiment.
        layouts: Layouts to try. Of two that explain as many runs, the earlier one wins.
    """
    found = []
    for layout in layouts:
        parts = sort_rows(rows, layout)
        if parts.trials:
            found.append((len(parts.explained), len(parts.trials), layout))
    if not found:
        return None
    n_explained, n_trials, layout = max(found, key=lambda entry: entry[0])
    n_as_good = sum(entry[0] == n_explained for entry in found)
    return Recognition(
        layout=layout.name,
        n_runs=len(rows),
        n_trials=n_trials,
        n_explained=n_explained,
        is_sure=n_as_good == 1 and n_explained >= SURE_SHARE * len(rows),
        why=f"{n_trials} of {len(rows)} runs {'is a trial' if n_trials == 1 else 'are trials'} of "
        f"{layout.writer}: {describe(layout.trial)}",
    )


def describe(match: Match) -> str:
    """Describe the conditions of a part."""
    words = [f"tag {name} = {' or '.join(values)}" for name, values in match.tags.items()]
    words += [f"tag {name}" for name in match.has_tags]
    words += [f"param {name}" for name in match.has_params]
    words += [f"metric {name}" for name in match.has_metrics]
    words += [f"no tag {name}" for name in match.lacks_tags]
    if match.has_parent is not None:
        words.append("a parent run" if match.has_parent else "no parent run")
    return ", ".join(words)


def count_objectives(rows: Iterable[RunRow], layout: Layout) -> Counter[str]:
    """Count the trials that record each name of the objective."""
    parts = sort_rows(rows, layout)
    return Counter(name for trial in parts.trials if (name := parts.name_objective(trial)))


def count_own_metrics(rows: Sequence[RunRow]) -> Counter[str]:
    """Count the runs with a finite value of each metric, without metrics of single folds."""
    return Counter(
        name
        for row in rows
        for name, value in row.metrics.items()
        if math.isfinite(value) and not _FOLD.search(name)
    )


def name_by_parents(rows: Sequence[RunRow], layout: Layout) -> frozenset[str]:
    """Collect the texts of params and tags of the trials' parents, one of which may name the objective."""
    parts = sort_rows(rows, layout)
    parents = {row.run_id: row for trial in parts.trials if (row := parts.above(trial)) is not None}
    return frozenset(text for row in parents.values() for text in (*row.params.values(), *row.tags.values()))


def count_metrics(rows: Sequence[RunRow], layout: Layout) -> Counter[str]:
    """Count the trials with a finite value of each metric, on the trial or on a run below it.

    Metrics of single folds do not count.
    """
    parts = sort_rows(rows, layout)
    counts: Counter[str] = Counter()
    for trial in parts.trials:
        below = parts.below(trial) if layout.values_on_child and not trial.metrics else ()
        counts.update(set(count_own_metrics((trial, *below))))
    return counts
