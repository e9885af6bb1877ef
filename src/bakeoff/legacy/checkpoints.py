"""Checkpoint of a trial in the folders that the old module wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from bakeoff.core.selection.study_groups import is_valid_metric
from bakeoff.errors import CheckpointError
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.tasks.metrics import Direction

CHECKPOINT = "checkpoint"
_USUAL_METRICS = ("macro-f1", "f1")
_FOLD = re.compile(r"fold_?(\d+)")
_MAX_METRICS_BYTES = 1_000_000  # a few numbers; more is no metrics file


def find_checkpoint(trial_dir: Path, metric: str | None, direction: Direction) -> Path | None:
    """Find the checkpoint: that of the refit, else of the best fold, else the trial's own.

    Args:
        trial_dir: Folder of the trial.
        metric: Metric of the objective, as named in ``metrics.json``; None takes the first usual one there.
        direction: Direction of the objective.
    """
    places = (
        trial_dir / "refit" / CHECKPOINT,
        *(fold / CHECKPOINT for fold in _rank_folds(trial_dir / "cv", metric, direction)),
        trial_dir / CHECKPOINT,
    )
    return next((place for place in places if _is_sound(place)), None)


def is_of_fold(checkpoint: Path) -> bool:
    """Return whether a checkpoint is that of a fold."""
    return _FOLD.fullmatch(checkpoint.parent.name) is not None


def _rank_folds(folder: Path, metric: str | None, direction: Direction) -> Iterator[Path]:
    """List the folds with a known metric, the best first; of equal ones the lower number first."""
    sign = -1 if direction == "maximize" else 1
    ranked = [
        (sign * value, int(match[1]), fold)
        for fold in (folder.iterdir() if folder.is_dir() else ())
        if (match := _FOLD.fullmatch(fold.name)) and (value := _read_metric(fold, metric)) is not None
    ]
    yield from (fold for _, _, fold in sorted(ranked))


def _read_metric(fold: Path, metric: str | None) -> float | None:
    path = fold / "metrics.json"
    try:
        if path.stat().st_size > _MAX_METRICS_BYTES:
            return None
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    names = (metric,) if metric else _USUAL_METRICS
    value = next((values[name] for name in names if name in values), None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_valid_metric(value):
        return None
    return float(value)


def _is_sound(folder: Path) -> bool:
    try:
        open_checkpoint(folder)
    except CheckpointError:
        return False
    return True
