"""State of a training by the Hugging Face Trainer, as its ``trainer_state.json`` records it; not trusted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATE_FILE = "trainer_state.json"
MAX_STATE_BYTES = 64 * 1024**2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STEP = re.compile(r"\d+$")


@dataclass(frozen=True, slots=True)
class TrainerState:
    """Best checkpoint of a training.

    Attributes:
        best_name: Name of the folder of the best checkpoint.
        best_metric: Value by which it was chosen; None if it is missing or not finite.
        history: Log entries of the training, each a mapping with a ``step``.
    """

    best_name: str
    best_metric: float | None
    history: Sequence[Mapping[str, Any]]

    @property
    def best_step(self) -> int | None:
        """Step of the best checkpoint, from its name."""
        digits = _STEP.search(self.best_name)
        return int(digits[0]) if digits else None

    def find_metric(self, metric: str) -> float | None:
        """Find the value of a metric that the best checkpoint logged; the first one of its step counts."""
        values = [
            as_number(entry.get(metric)) for entry in self.history if entry.get("step") == self.best_step
        ]
        return next((value for value in values if value is not None), None)


def read_state(path: Path) -> TrainerState | None:
    """Read a state file; None if it names no best checkpoint or cannot be read."""
    try:
        if path.stat().st_size > MAX_STATE_BYTES:
            return None
        state = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    best = state.get("best_model_checkpoint") if isinstance(state, dict) else None
    if not isinstance(best, str):
        return None
    name = best.replace("\\", "/").rstrip("/").rpartition("/")[2]
    history = state.get("log_history")
    entries = history if isinstance(history, list) else []
    return (
        TrainerState(
            best_name=name,
            best_metric=as_number(state.get("best_metric")),
            history=[entry for entry in entries if isinstance(entry, dict)],
        )
        if _NAME.fullmatch(name)
        else None
    )


def as_number(value: object) -> float | None:
    """Return a finite number as such, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
