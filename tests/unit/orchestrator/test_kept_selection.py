"""The stored selection: its format may change only together with its version."""

from __future__ import annotations

import json
from pathlib import Path

from bakeoff.orchestrator.champions import KeptSelection
from unit.report.conftest import make_selections

GOLDEN = Path(__file__).parents[2] / "golden" / "champions_v4.json"


def test_a_kept_selection_is_stored_as_ever() -> None:
    kept = KeptSelection(
        selected_at="2026-01-02T03:04:05+00:00",
        store="sqlite:///mlflow.db",
        settings_digest="5" * 64,
        selections=make_selections(),
    )
    stored = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert kept.model_dump(mode="json") == stored
    assert KeptSelection.model_validate(stored) == kept
