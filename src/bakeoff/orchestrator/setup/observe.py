"""Observation: what runs of an unknown writer hold, for people and for the draft of a layout."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bakeoff.plural import count
from bakeoff.record import Record
from bakeoff.stores.layouts import RunRow

MAX_NAMES = 100
MAX_EXAMPLES = 4
MAX_EXAMPLE_LENGTH = 40
_SHOWN = 20
_BOOKKEEPING = "mlflow."


class SeenName(Record):
    """Name of a param, metric or tag.

    Attributes:
        n_runs: Number of sampled runs with this name.
        n_values: Number of different values; 0 for a metric.
        examples: Some of the values, the most frequent first.
    """

    name: str
    n_runs: int
    n_values: int = 0
    examples: tuple[str, ...] = ()


class SeenExperiment(Record):
    """Content of a sample of an experiment's runs.

    Attributes:
        n_runs: Number of sampled runs.
        n_nested: Number of sampled runs nested in another run.
        n_parents: Number of runs that they are nested in.
        artifacts: Artifacts of some runs, the last ones; a folder ends with a slash.
    """

    name: str
    n_runs: int
    n_nested: int
    n_parents: int
    params: tuple[SeenName, ...]
    metrics: tuple[SeenName, ...]
    tags: tuple[SeenName, ...]
    artifacts: tuple[str, ...]


def observe(name: str, rows: Sequence[RunRow], artifacts: Iterable[str]) -> SeenExperiment:
    """Count what a sample of runs holds; MLflow's own tags do not count."""
    parents = [row.parent for row in rows if row.parent is not None]
    metrics = Counter(metric for row in rows for metric in row.metrics)
    return SeenExperiment(
        name=name,
        n_runs=len(rows),
        n_nested=len(parents),
        n_parents=len(set(parents)),
        params=count_values(row.params for row in rows),
        metrics=tuple(SeenName(name=metric, n_runs=n) for metric, n in metrics.most_common(MAX_NAMES)),
        tags=count_values(own_tags(row) for row in rows),
        artifacts=tuple(sorted(set(artifacts))),
    )


def own_tags(row: RunRow) -> dict[str, str]:
    """Return the tags of a run without those of MLflow itself."""
    return {name: text for name, text in row.tags.items() if not name.startswith(_BOOKKEEPING)}


def count_values(texts: Iterable[Mapping[str, str]]) -> tuple[SeenName, ...]:
    """Count the values of each name, the most frequent name first."""
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for one in texts:
        for name, text in one.items():
            values[name][text] += 1
    seen = [
        SeenName(
            name=name,
            n_runs=found.total(),
            n_values=len(found),
            examples=tuple(text[:MAX_EXAMPLE_LENGTH] for text, _ in found.most_common(MAX_EXAMPLES)),
        )
        for name, found in values.items()
    ]
    return tuple(sorted(seen, key=lambda one: (-one.n_runs, one.name))[:MAX_NAMES])


def describe_varying(texts: Iterable[Mapping[str, str]]) -> str:
    """Name the params with several values, those with the fewest first."""
    varying = [one for one in count_values(texts) if one.n_values > 1]
    words = [
        f"{one.name} ({count(one.n_values, 'value')})"
        for one in sorted(varying, key=lambda one: (one.n_values, one.name))
    ]
    return _join(words) or "none"


def describe_seen(seen: SeenExperiment) -> list[str]:
    """Describe an experiment in lines for people."""
    metrics = (f"{one.name} ({count(one.n_runs, 'run')})" for one in seen.metrics)
    nested = f"{count(seen.n_nested, 'run')} in {count(seen.n_parents, 'parent run')}"
    return [
        f"params: {_join(map(_describe_values, seen.params)) or 'none'}",
        f"metrics: {_join(metrics) or 'none'}",
        f"tags: {_join(map(_describe_values, seen.tags)) or 'none'}",
        f"nested: {nested if seen.n_nested else 'none'}",
        f"artifacts of some runs: {_join(seen.artifacts) or 'none'}",
    ]


def _describe_values(one: SeenName) -> str:
    more = ", …" if one.n_values > len(one.examples) else ""
    return f"{one.name} ({count(one.n_values, 'value')}: {', '.join(one.examples)}{more})"


def _join(words: Iterable[str]) -> str:
    listed = list(words)
    more = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {count(more, 'other')}" if more > 0 else "")
