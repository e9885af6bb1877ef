"""Folding: which candidates stay open if a table has too many to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision

_ALL_ARE_OPEN_UP_TO = 18
_OPEN_AT_LEAST, _OPEN_AT_MOST = 8, 24
T = TypeVar("T")


class Folded(NamedTuple, Generic[T]):
    """Rows that stay open, and rows that a reader unfolds."""

    shown: tuple[T, ...]
    folded: tuple[T, ...]


def fold(decision: Decision) -> Folded[int]:
    """Split the numbers of the standings, in their order.

    Winner, tied, front, reference and production stay open, and the first others while there is room.
    """
    standings = decision.standings
    all_numbers = tuple(range(len(standings)))
    if len(standings) <= _ALL_ARE_OPEN_UP_TO:
        return Folded(all_numbers, ())
    named = {decision.reference, decision.production.label}
    wanted = [
        number
        for number, row in enumerate(standings)
        if row.place in {"winner", "tied"} or row.is_on_front or row.label in named
    ]
    chosen = set(wanted[:_OPEN_AT_MOST])
    for number in all_numbers:
        if len(chosen) >= _OPEN_AT_LEAST:
            break
        chosen.add(number)
    shown = tuple(sorted(chosen))
    return Folded(shown, tuple(number for number in all_numbers if number not in chosen))
