"""Noise: the share of a measurement that other work disturbed, and the times that stay comparable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bakeoff.core.records import Flag, Measurement
from bakeoff.core.validity.flags import CONTENDED, DISTURBED, THROTTLED
from bakeoff.measure.statistics.readings import MAX_DIRTY_SHARE, WARN_DIRTY_SHARE, Reading
from bakeoff.measure.system.kernel_counters import MAX_THROTTLED_SHARE, QUOTA_STOPS, THROTTLED_NS
from bakeoff.plural import count

ComparedTime = Literal["wall time", "CPU time"]


def judge_share(share: float, *, contended: str, disturbed: str, accepts_contention: bool) -> list[Flag]:
    """Flag the share of a measurement that other work disturbed, if it is large.

    Args:
        share: Share of its rounds or of its time, in [0, 1].
        contended: Detail of the flag if most of it was disturbed.
        disturbed: Detail of the flag if a part of it was disturbed.
        accepts_contention: Whether a measurement on a busy machine counts as done.
    """
    if share > MAX_DIRTY_SHARE:
        return [CONTENDED.raised(contended, is_accepted=accepts_contention)]
    return [DISTURBED.raised(disturbed)] if share > WARN_DIRTY_SHARE else []


def judge_throttling(readings: Sequence[Reading], time_column: str) -> list[Flag]:
    """Flag times that hold pauses by the process's own CPU quota.

    Args:
        readings: Readings with a row for each block or trial.
        time_column: Column with the length of each row in ns.
    """
    rows = [row.columns for row in readings if THROTTLED_NS in row.columns and time_column in row.columns]
    time_ns = sum(sum(row[time_column]) for row in rows)
    throttled_ns = sum(sum(row[THROTTLED_NS]) for row in rows)
    if throttled_ns <= MAX_THROTTLED_SHARE * time_ns:
        return []
    n_stops = count(sum(sum(row.get(QUOTA_STOPS, ())) for row in rows), "time")
    share = f"{throttled_ns / time_ns:.1%} of the time (limit {MAX_THROTTLED_SHARE:.0%})"
    detail = f"its CPU quota stopped the process {n_stops}, for {share}: times hold these pauses"
    return [THROTTLED.raised(detail)]


def is_contended(*measurements: Measurement) -> bool:
    """Return whether the machine was too busy during any of them."""
    return any(each.has_flag(CONTENDED.name) for each in measurements)


def is_only_contended(measurement: Measurement) -> bool:
    """Return whether only a busy machine keeps it from counting as done, so that its ratios can be read."""
    return {flag.name for flag in measurement.flags if flag.invalidates} == {CONTENDED.name}


def clock_of(measurement: Measurement) -> ComparedTime:
    """Return the clock of a measurement's ratios to its heat's reference.

    Users wait for wall time. On a contended machine the ratios use CPU time, if all candidates used one
    thread: CPU time does not hold the share of other work. With more threads it would hold their spinning.
    """
    heat = measurement.heat
    is_by_cpu = is_contended(measurement) and heat is not None and heat.uses_one_thread
    return "CPU time" if is_by_cpu else "wall time"
