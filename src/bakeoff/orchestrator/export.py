"""Export: the results on this disk as a flat table."""

from __future__ import annotations

from collections.abc import Iterator

from bakeoff.core.records import Measurement
from bakeoff.core.tables import FlatTable, What, tabulate_decision, tabulate_measurements, tabulate_samples
from bakeoff.errors import UserError
from bakeoff.orchestrator.decide import load_decision
from bakeoff.orchestrator.project import Project


def tabulate(project: Project, what: What) -> FlatTable:
    """Make a table of the last decision, of every measurement on this disk, or of every timed call.

    Raises:
        DataError: A file is broken.
        UserError: There is nothing to export.
    """
    match what:
        case "decision":
            return tabulate_decision(load_decision(project))
        case "measurements":
            table = tabulate_measurements(_load_measurements(project))
        case "samples":
            table = tabulate_samples(_load_measurements(project))
    if not table.n_rows:
        raise UserError(f"{project.results.folder}: no {what} to export; run `bakeoff bench`")
    return table


def _load_measurements(project: Project) -> Iterator[Measurement]:
    """Load one measurement at a time, so that their raw values need not all be in memory at once."""
    for attempt in project.results.list_attempts():
        loaded = project.results.load(attempt.job.key, attempt.attempt)
        if isinstance(loaded, Measurement):
            yield loaded
