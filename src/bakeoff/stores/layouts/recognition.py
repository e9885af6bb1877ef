"""Who wrote these runs: every built-in layout is tried, and the one that explains most of them is taken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from bakeoff.record import Record
from bakeoff.stores.layouts.layout import Layout, Match
from bakeoff.stores.layouts.reading import sort_rows
from bakeoff.stores.layouts.row import Row

SURE_SHARE = 0.5


class Recognition(Record):
    """What one layout makes of a sample of runs.

    Attributes:
        n_runs: In the sample.
        n_trials: Of them are trials.
        n_explained: Of them are trials, folds or refits, or above or below one.
        is_sure: No other layout explains as many, and this one explains half of them at least.
        why: What was found, in one line.
    """

    layout: str
    n_runs: int
    n_trials: int
    n_explained: int
    is_sure: bool
    why: str


def recognise(rows: Sequence[Row], layouts: Sequence[Layout]) -> Recognition | None:
    """The layout that fits a sample best, or None where none finds a trial.

    Args:
        rows: Some runs of one experiment.
        layouts: To be tried; of two that explain as many runs the earlier one is taken.
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
        why=f"{n_trials} of {len(rows)} runs are trials of {layout.writer}: {describe(layout.trial)}",
    )


def describe(match: Match) -> str:
    """The conditions of a part in words."""
    words = [f"tag {name} = {' or '.join(values)}" for name, values in match.tags.items()]
    words += [f"tag {name}" for name in match.has_tags]
    words += [f"param {name}" for name in match.has_params]
    words += [f"metric {name}" for name in match.has_metrics]
    words += [f"no tag {name}" for name in match.lacks_tags]
    if match.has_parent is not None:
        words.append("a parent run" if match.has_parent else "no parent run")
    return ", ".join(words)


def count_metrics(rows: Sequence[Row], layout: Layout) -> Counter[str]:
    """In how many trials each metric has a finite value, its own or one of the runs below it."""
    parts = sort_rows(rows, layout)
    counts: Counter[str] = Counter()
    for trial in parts.trials:
        below = parts.below(trial) if layout.values_on_child and not trial.metrics else ()
        names = {
            name for row in (trial, *below) for name, value in row.metrics.items() if math.isfinite(value)
        }
        counts.update(names)
    return counts
