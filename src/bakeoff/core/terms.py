"""What the trials of a store have in common, so that not every backbone must be asked about it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from bakeoff.core.questions import Answer, Noun, Question, Rules
from bakeoff.core.records import Trial


@dataclass(frozen=True, slots=True)
class Terms:
    """What the trials of a store have in common.

    Attributes:
        mixed: Nouns in which they differ.
        version: The only schema version that is recorded, unless these are mixed.
        is_plain: No name of a metric is recorded in two ways.
    """

    mixed: frozenset[Noun]
    version: str
    is_plain: bool


def find_terms(sample: Sequence[Trial], rules: Rules) -> Generator[Question, Answer, Terms]:
    """Ask for one trial that is unlike those of a sample, in each noun."""
    version = next((trial.schema_version for trial in sample if not trial.study_key_is_derived), "")
    usual: dict[Noun, tuple[str, ...]] = {
        "schema_version": (version,),
        "direction": spell(rules.direction),
    }
    mixed: set[Noun] = set()
    for noun, texts in usual.items():
        if noun in rules.recorded:
            other = yield Question(unlike={noun: texts}, max_runs=1)
            mixed |= {noun} if other.trials else set()
    metrics, is_plain = {rules.metric_name}, True
    while "metric" in rules.recorded and is_plain:
        other = yield Question(unlike={"metric": tuple(sorted(metrics))}, max_runs=1)
        if not other.trials:
            break
        found = {trial.metric_name for trial in other.trials}
        is_plain = metrics.isdisjoint(found)
        metrics |= found
    if "metric" in rules.recorded and len(metrics) == 1:
        nameless = yield Question(lacks=("metric",), max_runs=1)
        metrics |= {""} if nameless.trials else set()
    mixed |= {"metric"} if len(metrics) > 1 else set()
    return Terms(frozenset(mixed), version, is_plain)


def spell(text: str) -> tuple[str, ...]:
    """The usual spellings of a direction, which is read in any."""
    return (text, text.upper(), text.capitalize())
