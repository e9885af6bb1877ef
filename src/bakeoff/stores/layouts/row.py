"""RunRow: the parts of a run that a layout reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bakeoff.stores.layouts.layout import Match, Source
from bakeoff.stores.tags import PARENT_RUN_ID


@dataclass(frozen=True, slots=True)
class RunRow:
    """One active run of the tracking store, as plain values.

    Attributes:
        start_time_ms: Start, in ms since the epoch.
        metrics: The last logged value of each name, finite or not.
    """

    run_id: str
    name: str
    status: str
    experiment_id: str
    experiment_name: str
    start_time_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def parent(self) -> str | None:
        """Id of the run in which this one is nested."""
        return self.tags.get(PARENT_RUN_ID) or None

    @property
    def age(self) -> tuple[int, str]:
        """Sort key by start, the same on every machine."""
        return (self.start_time_ms, self.run_id)

    def plays(self, part: Match) -> bool:
        """Return whether all conditions of a part hold for this run."""
        return (
            all(self.tags.get(name) in values for name, values in part.tags.items())
            and all(name in self.tags for name in part.has_tags)
            and not any(name in self.tags for name in part.lacks_tags)
            and all(name in self.params for name in part.has_params)
            and all(name in self.metrics for name in part.has_metrics)
            and part.has_parent in (None, self.parent is not None)
        )

    def find(self, source: Source) -> str | None:
        """Find the text at a place of this run, spaces included, or None if it is missing or blank."""
        if source.tag is not None:
            text = self.tags.get(source.tag)
        elif source.param is not None:
            text = self.params.get(source.param)
        else:
            text = self.name if source.field == "run_name" else self.experiment_name
        return text if text and text.strip() else None
