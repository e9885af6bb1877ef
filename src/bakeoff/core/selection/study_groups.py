"""Study groups: trials that may be compared, and the score of each group as far as it was read."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bakeoff.core.config.settings import SelectionSettings
from bakeoff.core.records import StudyGroup, Trial
from bakeoff.measure.tasks.metrics import Direction
from bakeoff.plural import count
from bakeoff.record import Record

# MLflow's SQL store writes +inf and -inf as this.
STORED_INFINITY = 1.797e308
# Version of study keys that cover neither data nor evaluation, and of those that were never recorded.
OLDEST_SCHEMA = "1.0"
# Schema version, study key, name of the objective's metric: trials that share all three are comparable.
GroupName = tuple[str, str, str]


class Coverage(Record):
    """Share of one backbone's finished trials that was read.

    A loss is the metric of a minimised objective, or the negated metric of a maximised one.

    Attributes:
        is_whole: Whether all trials were read.
        reach: Loss up to which every valid trial was read.
        group_reach: The same for single study groups of which more was read, by study key.
    """

    model_config = Record.model_config | {"allow_inf_nan": True}

    is_whole: bool = True
    reach: float = math.inf
    group_reach: Mapping[str, float] = {}

    def reach_of(self, study_key_hash: str) -> float:
        """Return the loss up to which every valid trial of a study group was read."""
        return max(self.reach, self.group_reach.get(study_key_hash, -math.inf))


WHOLE = Coverage()


def is_valid_metric(value: float | None) -> bool:
    """Return whether a metric is a finite number; the SQL store writes infinity as ±1.797e308."""
    return value is not None and math.isfinite(value) and abs(value) < STORED_INFINITY


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """Rules of one selection.

    Attributes:
        settings: How groups are scored, and which ones compete.
        direction: Direction of the objective.
        metric_name: Metric of the objective; trials with another one are excluded. None takes any.
    """

    settings: SelectionSettings
    direction: Direction
    metric_name: str | None = None

    def takes(self, metric_name: str) -> bool:
        """Return whether trials with this objective compete."""
        return self.metric_name in (None, metric_name)


def loss_of(value: float, direction: Direction) -> float:
    """Convert a metric to a loss, of which less is better; a loss converts back to the metric."""
    return -value if direction == "maximize" else value


def valid_losses(trials: Iterable[Trial], direction: Direction) -> list[float]:
    """Return the losses of the trials with a valid metric, the best first."""
    return sorted(
        loss_of(trial.metric, direction)
        for trial in trials
        if trial.metric is not None and is_valid_metric(trial.metric)
    )


def group_trials(trials: Iterable[Trial]) -> Mapping[GroupName, list[Trial]]:
    """Group the trials that may be compared."""
    groups: dict[GroupName, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[(trial.schema_version, trial.study_key_hash, trial.metric_name)].append(trial)
    return groups


def find_newest_version(trials: Iterable[Trial]) -> str:
    """Find the newest schema version of some trials; an empty text without any."""
    return max(
        (trial.schema_version for trial in trials),
        key=lambda version: (_version_order(version), version),
        default="",
    )


def is_older(version: str, other: str) -> bool:
    """Return whether one schema version is older than another."""
    return (_version_order(version), version) < (_version_order(other), other)


def median(values: Sequence[float]) -> float:
    """Return the median of sorted numbers; halves before adding, so that no sum overflows."""
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    return low if low == high else low / 2 + high / 2


def judge_group(
    name: GroupName,
    trials: Sequence[Trial],
    rules: SelectionRules,
    *,
    newest: str,
    coverage: Coverage = WHOLE,
) -> StudyGroup:
    """Judge one group; values that unread trials could change are None.

    Args:
        name: Name of the group.
        trials: Finished trials of the group, as far as they were read.
        rules: Rules of the selection.
        newest: Schema version that competes.
        coverage: Share of the backbone's trials that was read.
    """
    version, study_key_hash, judged_by = name
    settings, direction = rules.settings, rules.direction
    losses = valid_losses(trials, direction)
    n_duplicates = sum(len(trial.duplicates) for trial in trials)
    reach = coverage.reach_of(study_key_hash)
    n_certain = sum(loss <= reach for loss in losses)
    left_out = None
    if not rules.takes(judged_by):
        left_out = f"its objective is {judged_by!r}, but hpo.objective.metric is {rules.metric_name!r}"
    elif version != newest and not settings.allow_mixed_schema_groups:
        left_out = f"schema version {version} is not compared with {newest}, which exists as well"
    elif math.isinf(reach) and len(losses) < settings.min_trials_per_group:
        left_out = _explain_too_few(len(losses), n_duplicates, settings.min_trials_per_group)
    elif len(losses) < settings.min_trials_per_group or n_certain < settings.top_k:
        left_out = "cannot win: its unread trials are worse than the chosen group's stable score"
    competes = rules.takes(judged_by) and (version == newest or settings.allow_mixed_schema_groups)
    is_best_certain = coverage.is_whole or (competes and n_certain > 0)
    return StudyGroup(
        study_key_hash=study_key_hash,
        schema_version=version,
        best_metric=loss_of(losses[0], direction) if losses and is_best_certain else None,
        stable_score=None if left_out else loss_of(median(losses[: settings.top_k]), direction),
        n_trials=len(trials),
        n_valid=len(losses),
        n_invalid=len(trials) - len(losses),
        n_duplicates=n_duplicates,
        left_out=left_out,
        key_is_derived=any(trial.study_key_is_derived for trial in trials),
    )


def merge_duplicates(trials: Iterable[Trial]) -> list[Trial]:
    """Keep one of the runs that logged the same trial: same study, trial number and params.

    The earliest run with a valid metric stays, and names the others. Runs without a number or without params
    are trials of their own.
    """
    merged: dict[object, Trial] = {}
    for trial in sorted(trials, key=lambda trial: (trial.start_time_ms, trial.run_id)):
        identity: object = trial.run_id
        if trial.number is not None and trial.params:
            identity = (
                *(trial.schema_version, trial.study_key_hash, trial.metric_name, trial.number),
                tuple(sorted(trial.params.items())),
            )
        first = merged.get(identity)
        if first is None:
            merged[identity] = trial
            continue
        kept, other = first, trial
        if not is_valid_metric(first.metric) and is_valid_metric(trial.metric):
            kept, other = trial, first
        duplicates = {**first.duplicates, other.run_id: other.metric}
        merged[identity] = kept.replace(duplicates=duplicates)
    return list(merged.values())


def _explain_too_few(n_valid: int, n_duplicates: int, needed: int) -> str:
    found = count(n_valid, "valid trial")
    if n_duplicates:
        found += f" ({count(n_duplicates, 'duplicate run')} not counted)"
    return f"{found}; selection.min_trials_per_group is {needed}"


def _version_order(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else -1 for part in version.split("."))
