"""What ``faults.py`` cuts short and damages; the tests do the same at fewer points."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from damages import count_silent, list_stored
from fault_cases import (
    IN_STORES,
    ON_DISK,
    Case,
    StoreAttempt,
    Tally,
    View,
    cut_power_everywhere,
    kill_everywhere,
    kill_twice,
)
from lossy import COMMANDS, Command, lossy_lab, spoil_everywhere

__all__ = [
    "COMMANDS",
    "IN_STORES",
    "ON_DISK",
    "Case",
    "Command",
    "StoreAttempt",
    "Tally",
    "View",
    "count_silent",
    "cut_power_everywhere",
    "kill_everywhere",
    "kill_twice",
    "list_stored",
    "lossy_lab",
    "spoil_everywhere",
]
