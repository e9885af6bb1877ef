"""Clocks: by which time a candidate is compared with the reference of its heat.

Wall time, which is what a user waits for; on a contended machine CPU time, if all used one thread: what
others take of the wall clock is not in it. With more threads it holds what they spin while they wait.
"""

from __future__ import annotations

from typing import Literal

from bakeoff.core.records import CONTENDED, Measurement

Clock = Literal["wall time", "CPU time"]


def clock_of(measurement: Measurement) -> Clock:
    """The time of which the ratios of one measurement to its heat's reference are."""
    heat = measurement.heat
    is_by_cpu = measurement.has_flag(CONTENDED) and heat is not None and heat.uses_one_thread
    return "CPU time" if is_by_cpu else "wall time"
