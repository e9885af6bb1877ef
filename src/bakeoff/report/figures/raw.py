"""Evidence: the measurements that a decision was made from, found by candidate.

A decision holds summaries. What its page shows beyond them (calls, calibration loop, counts) is read from the
measurements themselves, which are handed in beside it; where some are not at hand, the page says so.
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
        decision: What was decided.
        measurements: That are at hand; of others than the decision's no use is made.
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
        """The measurements of a candidate, in the order of its keys."""
        return (self._by_key[key] for key in standing.benchmark_keys if key in self._by_key)

    def find(self, standing: Standing, quantity: str, **at: int) -> Reading | None:
        """A reading of a candidate, from the last of its measurements that has it; None without one."""
        found = None
        for measurement in self.of(standing):
            found = measurement.reading(quantity, **at) or found
        return found

    def heats(self) -> Sequence[tuple[HeatFacts, tuple[Measurement, ...]]]:
        """Every heat, with what was measured in it, in the order in which they are met."""
        heats: dict[str, tuple[HeatFacts, list[Measurement]]] = {}
        for measurement in self.measurements:
            if measurement.heat is not None:
                heats.setdefault(measurement.heat.heat_id, (measurement.heat, []))[1].append(measurement)
        return [(facts, tuple(members)) for facts, members in heats.values()]
