"""Tracks: each setting of a decision as a line, with the range over which the same candidate leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bakeoff.report.figures.axes import Axis

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.sensitivity import Sensitivity, Turn
    from bakeoff.core.quality import QualityMetric

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
    """Draw one line a setting: a share from 0 to 1, a limit on quality over the range of the metric.

    Others go from 0 to a quarter beyond the largest value.
    """
    return tuple(_draw_track(moved, decision.metric) for moved in decision.sensitivity)


def _draw_track(moved: Sensitivity, metric: QualityMetric | None) -> Track:
    known = [turn.at for turn in (moved.low, moved.high) if turn is not None]
    known += [moved.value] if moved.value is not None else []
    low, high = min([0.0, *known]) * 1.25, max([0.0, *known]) * 1.25 or 1.0
    if moved.moved == "quality share":
        low, high = 0.0, 1.0
    elif metric is not None and moved.moved in {"quality floor", "quality ceiling"}:
        low, high = (
            metric.low if metric.low is not None else low,
            metric.high if metric.high is not None else high,
        )
    axis = Axis(low, high, 6, TRACK_WIDTH - 6)
    unset = axis.start if moved.moved == "quality floor" else axis.end
    return Track(
        name=moved.moved,
        value="not set" if moved.value is None else f"{moved.value:.3g}",
        low=_describe_turn(moved.low),
        high=_describe_turn(moved.high),
        at=unset if moved.value is None else axis.place(moved.value),
        start=axis.place(moved.low.at) if moved.low else axis.start,
        end=axis.place(moved.high.at) if moved.high else axis.end,
    )


def _describe_turn(turn: Turn | None) -> str:
    if turn is None:
        return ""
    return f"{turn.at:.3g}: {turn.leader} leads" if turn.leader else f"{turn.at:.3g}: no candidate may win"
