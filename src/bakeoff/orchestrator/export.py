"""Export: what this disk holds, as flat columns."""

from __future__ import annotations

from collections.abc import Iterator

from bakeoff.core.records import Measurement
from bakeoff.core.tables import FlatTable, What, tabulate_decision, tabulate_measurements, tabulate_samples
from bakeoff.errors import UserError
from bakeoff.orchestrator.decide import load_decision
from bakeoff.orchestrator.project import Project


def make_frame(project: Project, what: What) -> FlatTable:
    """The last decision, or every measurement of this disk, or every timed call of them.

    Raises:
        DataError: A file is broken.
        UserError: There is nothing of the kind.
    """
    match what:
        case "decision":
            return tabulate_decision(load_decision(project))
        case "measurements":
            frame = tabulate_measurements(_load_measurements(project))
        case "samples":
            frame = tabulate_samples(_load_measurements(project))
    if not frame.n_rows:
        raise UserError(f"{project.results.folder}: no {what} to export; run `bakeoff bench`")
    return frame


def _load_measurements(project: Project) -> Iterator[Measurement]:
    """One after the other: the raw values of all of them need not be in memory at once."""
    for attempt in project.results.list_attempts():
        loaded = project.results.load(attempt.job.key, attempt.attempt)
        if isinstance(loaded, Measurement):
            yield loaded
