"""Queries that a tracking store can answer by its filters alone, and what they are asked for."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bakeoff.core.config.settings import SelectionSettings
from bakeoff.core.records import Direction, Trial
from bakeoff.core.selection.study_groups import Coverage

FieldName = Literal["backbone", "study_key", "schema_version", "metric", "direction"]
WHOLE_RUNS = 1000
SAMPLE_RUNS = 100
RANGE_RUNS = 300


@dataclass(frozen=True, slots=True)
class TrialQuery:
    """Which finished trials are asked for; all conditions must hold.

    Attributes:
        equals: Each field is recorded as this text.
        unlike: Each field is recorded, and as none of these texts.
        lacks: None of these fields is recorded.
        reaches: The metric is at least as good as this.
        short_of: And worse than this.
        max_runs: Answer with so many at least, if there are; None asks for all.
        id_prefix: The run's id begins so. Ids are random, so that these are a fair sample.
    """

    equals: Mapping[FieldName, str] = field(default_factory=dict)
    unlike: Mapping[FieldName, tuple[str, ...]] = field(default_factory=dict)
    lacks: tuple[FieldName, ...] = ()
    reaches: float | None = None
    short_of: float | None = None
    max_runs: int | None = None
    id_prefix: str = ""


@dataclass(frozen=True, slots=True)
class TrialPage:
    """Trials that a query asked for.

    Attributes:
        is_cut: There are more.
    """

    trials: tuple[Trial, ...]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class ReadTrials:
    """The trials that were read, and of each backbone how much that is."""

    trials: tuple[Trial, ...]
    coverage: Mapping[str, Coverage]


@dataclass(frozen=True, slots=True)
class Rules:
    """What selection is about.

    Attributes:
        recorded: The fields that the writer of the store records; the study key is among them.
        whole_runs: A store, or a backbone, that holds no more trials is read whole.
        sample_runs: Fewer trials are no sample.
        range_runs: Of a range that holds more than so many trials a better part is read first.
    """

    settings: SelectionSettings
    direction: Direction
    metric_name: str
    recorded: frozenset[FieldName]
    whole_runs: int = WHOLE_RUNS
    sample_runs: int = SAMPLE_RUNS
    range_runs: int = RANGE_RUNS


# MLflow draws ids of hexadecimal digits at random: the runs whose id begins so are a fair sample. Unlike the
# oldest or the newest they show a metric that changes with time, and a store may find them by an index.
ONE_IN_256, ONE_IN_16 = "00", "0"
MAX_SAMPLE = 400


@dataclass(frozen=True, slots=True)
class StoreProfile:
    """What the trials of a store have in common.

    Attributes:
        mixed: Fields in which they differ, as far as that was asked.
        version: The only schema version that is recorded, unless these are mixed.
        is_plain: No name of a metric is recorded in two ways.
    """

    mixed: frozenset[FieldName]
    version: str
    is_plain: bool


def take_sample(query: TrialQuery, rules: Rules) -> Generator[TrialQuery, TrialPage, TrialPage]:
    """Ask for some trials of many, or for all where there are few."""
    for prefix in (ONE_IN_256, ONE_IN_16):
        page = yield replace(query, id_prefix=prefix, max_runs=max(MAX_SAMPLE, rules.sample_runs))
        if len(page.trials) >= rules.sample_runs:
            return replace(page, is_cut=True)
    return (yield replace(query, max_runs=rules.whole_runs))


def find_profile(sample: Sequence[Trial], rules: Rules) -> Generator[TrialQuery, TrialPage, StoreProfile]:
    """Ask for one trial that is unlike those of a sample, in each field.

    Trials of another metric are no error, only more to read: they are asked for if the sample shows one, and
    if a trial of another version or direction was found, which may be one of them.
    """
    version = next((trial.schema_version for trial in sample if not trial.study_key_is_derived), "")
    usual: dict[FieldName, tuple[str, ...]] = {
        "schema_version": (version,),
        "direction": spell(rules.direction),
    }
    mixed: set[FieldName] = set()
    for name, texts in usual.items():
        if name in rules.recorded:
            other = yield TrialQuery(unlike={name: texts[:1]}, max_runs=1)
            if other.trials and texts[1:]:  # each further text costs the store as much again
                other = yield TrialQuery(unlike={name: texts}, max_runs=1)
            mixed |= {name} if other.trials else set()
    metrics, is_plain = {rules.metric_name}, True
    if not mixed and all(trial.metric_name == rules.metric_name for trial in sample):
        return StoreProfile(frozenset(), version, is_plain)
    while "metric" in rules.recorded and is_plain:
        other = yield TrialQuery(unlike={"metric": tuple(sorted(metrics))}, max_runs=1)
        if not other.trials:
            break
        found = {trial.metric_name for trial in other.trials}
        is_plain = metrics.isdisjoint(found)
        metrics |= found
    if "metric" in rules.recorded and len(metrics) == 1:
        nameless = yield TrialQuery(lacks=("metric",), max_runs=1)
        metrics |= {""} if nameless.trials else set()
    mixed |= {"metric"} if len(metrics) > 1 else set()
    return StoreProfile(frozenset(mixed), version, is_plain)


def spell(text: str) -> tuple[str, ...]:
    """The usual spellings of a direction, which is read in any."""
    return (text, text.upper(), text.capitalize())
