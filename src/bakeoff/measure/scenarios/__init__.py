"""Scenarios that can be measured, one file each; the file's name is the YAML ``kind``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bakeoff.measure.scenarios.latency import Latency
from bakeoff.measure.scenarios.quality import Quality
from bakeoff.measure.scenarios.server import Server
from bakeoff.measure.scenarios.throughput import Throughput

Scenario = Annotated[Latency | Quality | Server | Throughput, Field(discriminator="kind")]
# Measured together with the other candidates, in interleaved rounds.
Interleaved = Latency | Throughput
# Measured alone, in fresh processes of their own.
Alone = Quality | Server
Timed = Latency | Server | Throughput
Untimed = Quality


def is_end_to_end(scenario: Scenario) -> bool:
    """Return whether calls are timed from a row to a prediction, and not of the model alone."""
    return isinstance(scenario, Timed) and scenario.region == "end_to_end"


__all__ = [
    "Alone",
    "Interleaved",
    "Latency",
    "Quality",
    "Scenario",
    "Server",
    "Throughput",
    "Timed",
    "Untimed",
    "is_end_to_end",
]
