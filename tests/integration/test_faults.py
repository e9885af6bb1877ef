"""Uploads, promotions and sweeps that are killed: nothing lost, and nothing counts twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from fault_cases import IN_STORES, Case, kill_everywhere

# Hundreds of points; benchmarks/faults.py takes them all.
EVERY = 29


@pytest.mark.slow
@pytest.mark.parametrize("case", IN_STORES, ids=lambda case: type(case).__name__)
def test_a_killed_write_loses_nothing_and_doubles_nothing(case: Case, tmp_path: Path) -> None:
    tally = kill_everywhere(case, tmp_path / "kills", every=EVERY)
    assert tally.n_points >= 2
    assert tally.stories == ()
