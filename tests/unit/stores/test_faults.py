"""Writes on disk that are cut short, and files of which bytes change: nothing torn, none silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from damages import count_silent, list_stored
from fault_cases import ON_DISK, Case, cut_power_everywhere, kill_everywhere

N_DAMAGES = 300


@pytest.mark.parametrize("case", ON_DISK, ids=lambda case: type(case).__name__)
def test_a_write_that_is_killed_leaves_the_old_state_or_the_new_one(case: Case, tmp_path: Path) -> None:
    tally = kill_everywhere(case, tmp_path / "kills", every=3)
    assert tally.n_points >= 2
    assert tally.stories == ()


@pytest.mark.parametrize("case", ON_DISK, ids=lambda case: type(case).__name__)
def test_a_write_that_loses_power_leaves_the_old_state_or_the_new_one(case: Case, tmp_path: Path) -> None:
    tally = cut_power_everywhere(case, tmp_path / "cuts", every=9)
    assert tally.n_points >= 2
    assert tally.stories == ()


@pytest.mark.parametrize(
    "kind", ["result", "raw values", "decision", "selection", "outcome", "mark", "marker"]
)
def test_every_change_of_a_stored_file_is_seen(kind: str, tmp_path: Path) -> None:
    stored = list_stored(tmp_path)[kind]
    assert stored.read(stored.whole) is not None
    assert count_silent(stored, N_DAMAGES, seed=21) == 0
