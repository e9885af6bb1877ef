"""Queries that a tracking store can answer by its filters alone, and the rules that they serve."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bakeoff.core.records import Trial
from bakeoff.core.selection.study_groups import Coverage, SelectionRules

FieldName = Literal["backbone", "study_key", "schema_version", "metric", "direction"]
WHOLE_RUNS = 1000
SAMPLE_RUNS = 100
RANGE_RUNS = 300


@dataclass(frozen=True, slots=True)
class TrialQuery:
    """Conditions on finished trials; all must hold.

    Attributes:
        equals: Text that each field is recorded as.
        reaches: Worst metric to include.
        short_of: Metric that all trials must be worse than.
        max_runs: Number of trials that suffice; None asks for all.
        id_prefix: Beginning of the run's id. Ids are random, so that these trials are a fair sample.
    """

    equals: Mapping[FieldName, str] = field(default_factory=dict)
    # Texts that each field is not recorded as; the field must be recorded.
    unlike: Mapping[FieldName, tuple[str, ...]] = field(default_factory=dict)
    # Fields that are not recorded.
    lacks: tuple[FieldName, ...] = ()
    reaches: float | None = None
    short_of: float | None = None
    max_runs: int | None = None
    id_prefix: str = ""


@dataclass(frozen=True, slots=True)
class TrialPage:
    """Trials that a query asked for.

    Attributes:
        is_cut: Whether the store has more.
    """

    trials: tuple[Trial, ...]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class ReadTrials:
    """Trials that were read, and the coverage of each backbone."""

    trials: tuple[Trial, ...]
    coverage: Mapping[str, Coverage]


@dataclass(frozen=True, slots=True)
class SearchRules:
    """SearchRules of a selection, and limits of the search for its trials.

    Attributes:
        selection: SearchRules of the selection.
        metric_name: Metric of the objective.
        recorded: Fields that the writer of the store records, among them the study key.
        whole_runs: Most trials of a store or backbone that is read whole.
        sample_runs: Fewest trials of a sample.
        range_runs: Most trials of a range that is read at once; of a larger one, the better part comes first.
    """

    selection: SelectionRules
    metric_name: str
    recorded: frozenset[FieldName]
    whole_runs: int = WHOLE_RUNS
    sample_runs: int = SAMPLE_RUNS
    range_runs: int = RANGE_RUNS


# MLflow draws ids of hexadecimal digits at random: runs with one beginning are a fair sample. They show a
# metric that changes with time, as the oldest or newest runs would not, and a store may have an index on ids.
ONE_IN_256, ONE_IN_16 = "00", "0"
MAX_SAMPLE = 400


@dataclass(frozen=True, slots=True)
class StoreProfile:
    """Facts that the trials of a store share.

    Attributes:
        mixed: Fields in which they differ, as far as queries asked.
        version: The only schema version that is recorded, unless versions are mixed.
        is_plain: Whether every metric name is recorded in one way only.
    """

    mixed: frozenset[FieldName]
    version: str
    is_plain: bool


def take_sample(query: TrialQuery, rules: SearchRules) -> Generator[TrialQuery, TrialPage, TrialPage]:
    """Ask for some trials if there are many, or for all if there are few."""
    for prefix in (ONE_IN_256, ONE_IN_16):
        page = yield replace(query, id_prefix=prefix, max_runs=max(MAX_SAMPLE, rules.sample_runs))
        if len(page.trials) >= rules.sample_runs:
            return replace(page, is_cut=True)
    return (yield replace(query, max_runs=rules.whole_runs))


def find_profile(
    sample: Sequence[Trial], rules: SearchRules
) -> Generator[TrialQuery, TrialPage, StoreProfile]:
    """Ask for one trial that differs from those of a sample, in each field.

    Trials of another metric are not an error, only more to read. The search asks for them if the sample shows
    one, or if it found a trial of another version or direction, which may be one of them.
    """
    version = next((trial.schema_version for trial in sample if not trial.study_key_is_derived), "")
    usual: dict[FieldName, tuple[str, ...]] = {
        "schema_version": (version,),
        "direction": spell(rules.selection.direction),
    }
    mixed: set[FieldName] = set()
    for name, texts in usual.items():
        if name in rules.recorded:
            other = yield TrialQuery(unlike={name: texts[:1]}, max_runs=1)
            if other.trials and texts[1:]:  # each further text costs the store the same again
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
    """Return the usual spellings of a direction; bakeoff reads all of them."""
    return (text, text.upper(), text.capitalize())
