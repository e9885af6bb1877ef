"""What is measured. One file a scenario; the file's name is the YAML ``kind``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bakeoff.measure.scenarios.latency import Latency
from bakeoff.measure.scenarios.quality import Quality

Scenario = Annotated[Latency | Quality, Field(discriminator="kind")]

__all__ = ["Latency", "Quality", "Scenario"]
