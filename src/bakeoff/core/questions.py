"""Questions that a tracking store can answer by its filters alone, and what they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bakeoff.core.groups import Coverage
from bakeoff.core.records import Direction, Trial
from bakeoff.core.settings import SelectionSettings

Noun = Literal["backbone", "study_key", "schema_version", "metric", "direction"]
WHOLE_RUNS = 1000
SAMPLE_RUNS = 100
RANGE_RUNS = 300


@dataclass(frozen=True, slots=True)
class Question:
    """Which finished trials are asked for; all conditions must hold.

    Attributes:
        equals: Each noun is recorded as this text.
        unlike: Each noun is recorded, and as none of these texts.
        lacks: None of these nouns is recorded.
        reaches: The metric is at least as good as this.
        short_of: And worse than this.
        max_runs: Answer with so many at least, if there are; None asks for all.
        id_prefix: The run's id begins so. Ids are random, so that these are a fair sample.
    """

    equals: Mapping[Noun, str] = field(default_factory=dict)
    unlike: Mapping[Noun, tuple[str, ...]] = field(default_factory=dict)
    lacks: tuple[Noun, ...] = ()
    reaches: float | None = None
    short_of: float | None = None
    max_runs: int | None = None
    id_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Trials that a question asked for.

    Attributes:
        is_cut: There are more.
    """

    trials: tuple[Trial, ...]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Contest:
    """The trials that were read, and of each backbone how much that is."""

    trials: tuple[Trial, ...]
    coverage: Mapping[str, Coverage]


@dataclass(frozen=True, slots=True)
class Rules:
    """What selection is about.

    Attributes:
        recorded: The nouns that the writer of the store records; the study key is among them.
        whole_runs: A store, or a backbone, that holds no more trials is read whole.
        sample_runs: Fewer trials are no sample.
        range_runs: Of a range that holds more than so many trials a better part is read first.
    """

    settings: SelectionSettings
    direction: Direction
    metric_name: str
    recorded: frozenset[Noun]
    whole_runs: int = WHOLE_RUNS
    sample_runs: int = SAMPLE_RUNS
    range_runs: int = RANGE_RUNS
