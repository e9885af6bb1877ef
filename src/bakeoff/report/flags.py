"""Flags: what a reader of the measurements must know, each told once with the candidates it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bakeoff.core.decision import Decision

_MEANINGS = {
    "asym_threads": "A ratio holds the difference in threads beside the difference between the candidates.",
    "batched_timing": "Single calls are too short for the clock: there is no tail to be seen.",
    "ci_not_reached": "The interval is wider than was asked for when the time was up.",
    "contended": "Other work ran on the machine nearly all the time: latencies are upper bounds.",
    "disturbed": "Other work ran on the machine at times; those rounds were repeated and left out.",
    "fold_spread": "Trained again, the model may be better or worse by more than the test documents tell.",
    "drift": "The machine changed its speed meanwhile: absolute latencies are of this session alone.",
    "few_generations": "Too few fresh processes to know how much one differs from the next.",
    "heavy_tail": "A few calls take far longer than most.",
    "late_warmup": "The first rounds were still getting faster; they are left out for all candidates.",
    "limit_not_met": "This server cannot keep the limit, however few requests come.",
    "metric_not_reproduced": "The checkpoint answers otherwise here than where it was trained.",
    "multimodal": "It depends on the process how fast the model is.",
    "no_freeze": "Candidates that waited could not be stopped, and may have disturbed the others.",
    "no_refit_metric": "Nothing was logged that would show whether this is the model that was trained.",
    "not_resident": "The candidates were not in memory together, so that their rounds do not interleave.",
    "overhead": "The instrument itself is not small beside a call.",
    "recompiled": "The runtime still compiled while it was timed.",
    "truncated": "Words past the length limit were not seen by the model.",
    "unsupported": "Too few samples for this quantile: it is not shown.",
    "virtualised": "What the host does is not seen from inside the machine.",
    "warmup_not_steady": "Calls were still getting faster or slower when timing began.",
}


class FlagSummary(NamedTuple):
    """All flags of one name in short: the first detail, and how many more there are."""

    name: str
    detail: str
    n_more: int
    candidates: tuple[str, ...]


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


def summarize_flags(decision: Decision) -> tuple[FlagSummary, ...]:
    """One row a name, for where there is little room; the page tells every flag."""
    by_name: dict[str, list[FlagRow]] = {}
    for row in group_flags(decision):
        by_name.setdefault(row.name, []).append(row)
    return tuple(
        FlagSummary(
            name=name,
            detail=rows[0].detail,
            n_more=len(rows) - 1,
            candidates=tuple(
                standing.label
                for standing in decision.standings
                if any(standing.label in row.candidates for row in rows)
            ),
        )
        for name, rows in by_name.items()
    )
