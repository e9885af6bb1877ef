"""Flags: what a reader of the measurements must know, each told once with the candidates it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bakeoff.core.decision import Decision

_MEANINGS = {
    "contended": "Other work ran on the machine: the latencies may be too high.",
    "few_generations": "Too few fresh processes to know how much one differs from the next.",
    "metric_not_reproduced": "The checkpoint answers otherwise here than where it was trained.",
    "no_refit_metric": "Nothing was logged that would show whether this is the model that was trained.",
    "truncated": "Words past the length limit were not seen by the model.",
    "unsupported": "Too few samples for this quantile: it is not shown.",
    "warmup_not_steady": "Calls were still getting faster or slower when timing began.",
}


class FlagRow(NamedTuple):
    """One flag, with all candidates that carry it word for word."""

    name: str
    detail: str
    meaning: str
    candidates: tuple[str, ...]


def group_flags(decision: Decision) -> tuple[FlagRow, ...]:
    """Every flag of the decision once, in the order of names."""
    carriers: dict[str, list[str]] = {}
    for standing in decision.standings:
        for flag in dict.fromkeys(standing.flags):
            carriers.setdefault(flag, []).append(standing.label)
    rows = []
    for flag, labels in sorted(carriers.items()):
        name, _, detail = flag.partition(": ")
        rows.append(FlagRow(name, detail, _MEANINGS.get(name.partition("(")[0], ""), tuple(labels)))
    return tuple(rows)
