"""Clocks: by which time a candidate is compared with the reference of its heat.

Wall time, which is what a user waits for; on a contended machine CPU time, if one thread was used: what
others take of the wall clock is not in it. With more threads it holds what they spin while they wait.
"""

from __future__ import annotations

from typing import Literal

from bakeoff.core.records import CONTENDED, Measurement
from bakeoff.measure.readings import MEDIAN

Clock = Literal["wall time", "CPU time"]


def choose_clock(threads: int | None, *, is_contended: bool, p: float = MEDIAN) -> Clock:
    """The time of which a ratio to the reference is.

    Args:
        threads: Of the runtime; None where it was not told.
        is_contended: Whether the machine was too busy.
        p: Of which quantile: tails are of wall time always.
    """
    return "CPU time" if is_contended and threads == 1 and p == MEDIAN else "wall time"


def clock_of(measurement: Measurement) -> Clock:
    """The time of which the ratios of one measurement to its heat's reference are."""
    is_contended = any(flag.name == CONTENDED for flag in measurement.flags)
    return choose_clock(measurement.job.runtime.threads, is_contended=is_contended)
