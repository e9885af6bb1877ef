"""Contention: how much of a measurement other work may have disturbed."""

from __future__ import annotations

from typing import Literal

from bakeoff.core.records import CONTENDED, DISTURBED, Flag, Measurement
from bakeoff.measure.statistics.readings import MAX_DIRTY_SHARE, WARN_DIRTY_SHARE


def judge_share(share: float, *, contended: str, disturbed: str, accepts_contention: bool) -> list[Flag]:
    """Flag the share of a measurement that other work disturbed, if it is large.

    Args:
        share: Of its rounds or of its time, in [0, 1].
        contended: What is told where most of it was.
        disturbed: What is told where a part of it was.
        accepts_contention: Whether a measurement on a busy machine counts as done.
    """
    if share > MAX_DIRTY_SHARE:
        return [Flag(name=CONTENDED, detail=contended, invalidates=not accepts_contention)]
    return [Flag(name=DISTURBED, detail=disturbed)] if share > WARN_DIRTY_SHARE else []


Clock = Literal["wall time", "CPU time"]


def clock_of(measurement: Measurement) -> Clock:
    """The time of which the ratios of one measurement to its heat's reference are."""
    heat = measurement.heat
    is_by_cpu = measurement.has_flag(CONTENDED) and heat is not None and heat.uses_one_thread
    return "CPU time" if is_by_cpu else "wall time"
