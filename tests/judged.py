"""Quality where a test knows that it was measured: the type says that it may be missing."""

from __future__ import annotations

from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.production import Distance
from bakeoff.core.decision.standings import Standing
from bakeoff.core.estimate import Estimate
from bakeoff.measure.statistics.readings import Reading


def quality_of(row: Standing | Distance) -> Estimate:
    """The quality, or the difference of quality."""
    assert row.quality is not None
    return row.quality


def outcomes_in(candidate: Candidate) -> Reading:
    """The outcomes of a candidate."""
    assert candidate.outcomes is not None
    return candidate.outcomes
