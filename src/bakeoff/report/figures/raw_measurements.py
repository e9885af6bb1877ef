"""Evidence: the measurements behind a decision, by candidate.

A decision holds summaries. Its page shows more (calls, calibration loop, counts) from the measurements
themselves, which the caller passes alongside. If some are missing, the page says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.records import HeatFacts, Measurement
    from bakeoff.measure.statistics.readings import Reading


class RawMeasurements:
    """The measurements of a decision.

    Args:
        decision: Decision that the page shows.
        measurements: Those on this disk; measurements of other decisions are ignored.
    """

    def __init__(self, decision: Decision, measurements: Iterable[Measurement]) -> None:
        self._by_key: dict[str, Measurement] = {
            measurement.job.key: measurement for measurement in measurements
        }
        keys = dict.fromkeys(key for row in decision.standings for key in row.benchmark_keys)
        self.missing = tuple(key for key in keys if key not in self._by_key)
        self.n_wanted = len(keys)
        self.measurements = tuple(self._by_key[key] for key in keys if key in self._by_key)

    def of(self, standing: Standing) -> Iterator[Measurement]:
        """Return the measurements of a candidate, in the order of its keys."""
        return (self._by_key[key] for key in standing.benchmark_keys if key in self._by_key)

    def find(self, standing: Standing, quantity: str, **at: int) -> Reading | None:
        """Find a reading of a candidate, in the last of its measurements that has it."""
        found = None
        for measurement in self.of(standing):
            found = measurement.reading(quantity, **at) or found
        return found

    def heats(self) -> Sequence[tuple[HeatFacts, tuple[Measurement, ...]]]:
        """Return every heat with its measurements, in the order of the standings."""
        heats: dict[str, tuple[HeatFacts, list[Measurement]]] = {}
        for measurement in self.measurements:
            if measurement.heat is not None:
                heats.setdefault(measurement.heat.heat_id, (measurement.heat, []))[1].append(measurement)
        return [(facts, tuple(members)) for facts, members in heats.values()]
