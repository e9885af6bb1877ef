"""Tracks: each setting of a decision as a line, with the range over which the same candidate leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bakeoff.report.figures.axes import Axis

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.sensitivity import Sensitivity, Turn

TRACK_WIDTH = 180


class Track(NamedTuple):
    """One setting as a line: its value, and the range over which the same candidate leads.

    Attributes:
        value: Value as text.
        low: Nearest value below that changes the leader, with the new leader; empty if there is none.
        high: Nearest such value above.
        at: Place of the value.
        start: Place of ``low``, or of the begin of the axis.
        end: Place of ``high``, or of the end of the axis.
    """

    name: str
    value: str
    low: str
    high: str
    at: float
    start: float
    end: float


def draw_tracks(decision: Decision) -> tuple[Track, ...]:
    """Draw one line a setting: a share from 0 to 1, others from 0 to a quarter beyond the largest value."""
    return tuple(map(_draw_track, decision.sensitivity))


def _draw_track(moved: Sensitivity) -> Track:
    turns = [turn.at for turn in (moved.low, moved.high) if turn is not None]
    is_share = moved.moved in {"quality share", "quality floor"}
    low, high = (0.0, 1.0) if is_share else (0.0, max([moved.value, *turns]) * 1.25 or 1.0)
    axis = Axis(low, high, 6, TRACK_WIDTH - 6)
    return Track(
        name=moved.moved,
        value=f"{moved.value:.3g}",
        low=_describe_turn(moved.low),
        high=_describe_turn(moved.high),
        at=axis.place(moved.value),
        start=axis.place(moved.low.at) if moved.low else axis.start,
        end=axis.place(moved.high.at) if moved.high else axis.end,
    )


def _describe_turn(turn: Turn | None) -> str:
    if turn is None:
        return ""
    return f"{turn.at:.3g}: {turn.leader} leads" if turn.leader else f"{turn.at:.3g}: no candidate may win"
