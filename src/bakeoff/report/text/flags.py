"""Flags of a decision, grouped for reading: each once, with meaning, fix and candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bakeoff.core.validity.flags import FLAGS

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.records import Flag


class FlagDetail(NamedTuple):
    """One figure, with all candidates that share it."""

    detail: str
    candidates: tuple[str, ...]


class FlagGroup(NamedTuple):
    """All flags of one name.

    Attributes:
        meaning: Its consequence for the numbers.
        candidates: All with the flag, in the order of the standings.
        invalidates: Whether the flag keeps a measurement from counting as done.
    """

    name: str
    meaning: str
    fix: str
    details: tuple[FlagDetail, ...]
    candidates: tuple[str, ...]
    invalidates: bool


def group_flags(decision: Decision) -> tuple[FlagGroup, ...]:
    """Group the flags of a decision: invalidating ones first, then by the number of candidates."""
    carriers: dict[str, dict[Flag, list[str]]] = {}
    for standing in decision.standings:
        for flag in dict.fromkeys(standing.flags):
            carriers.setdefault(flag.name, {}).setdefault(flag, []).append(standing.label)
    groups = [_group(decision, name, by_flag) for name, by_flag in carriers.items()]
    return tuple(sorted(groups, key=lambda one: (not one.invalidates, -len(one.candidates), one.name)))


def _group(decision: Decision, name: str, by_flag: dict[Flag, list[str]]) -> FlagGroup:
    kind = FLAGS.get(name)
    labels = {label for each in by_flag.values() for label in each}
    details: dict[str, list[str]] = {}
    for flag, among in by_flag.items():
        shown = f"{flag.quantity}, {flag.detail}" if flag.quantity else flag.detail
        details.setdefault(shown, []).extend(among)
    return FlagGroup(
        name,
        kind.meaning if kind else "",
        kind.fix.replace("`", "") if kind else "",
        tuple(FlagDetail(shown, tuple(details[shown])) for shown in sorted(details)),
        tuple(row.label for row in decision.standings if row.label in labels),
        any(flag.invalidates for flag in by_flag),
    )
