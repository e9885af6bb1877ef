"""Untimed orders in forks of a server: the same answers as from a fresh process, by another way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.records import Champion
from bakeoff.disk.digest import digest_folder
from bakeoff.disk.folders import COMPLETE_MARKER
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.scenarios import Quality
from bakeoff.measure.statistics.readings import CALIBRATION, OVERHEAD
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.run.machine import forks
from bakeoff.run.measuring.orders import Done, PrepareOrder, UntimedOrder, run_in_process


@pytest.fixture
def forked_ids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of the forks."""
    found: list[int] = []
    fork = forks.fork

    def note(*args: object, **more: object) -> object:
        process = fork(*args, **more)  # type: ignore[arg-type]
        if process is not None:
            found.append(process.pid)
        return process

    monkeypatch.setattr(forks, "fork", note)
    return found


@pytest.fixture(params=[Torch(threads=1), OnnxRuntime(threads=1)], ids=lambda each: each.label)
def run(
    request: pytest.FixtureRequest, champion: Champion, documents: tuple[TaggedDocument, ...]
) -> Callable[[Path], Done]:
    """Prepare a runtime in a folder, and read its answers."""
    assert champion.checkpoint_path is not None
    parts: dict[str, Any] = {
        "runtime": request.param,
        "checkpoint": champion.checkpoint_path,
        "checkpoint_digest": digest_folder(champion.checkpoint_path),
        "documents": documents,
        "max_length": 32,
    }

    def carry_out(folder: Path) -> Done:
        prepared = folder / "prepared"
        run_in_process(PrepareOrder(**parts, destination=prepared), folder / "prepare", timeout_s=300)
        order = UntimedOrder(**parts, scenario=Quality(), prepared=prepared, repeat=0)
        return run_in_process(order, folder / "quality", timeout_s=300)

    return carry_out


@pytest.mark.slow
def test_a_fork_answers_as_a_fresh_process(
    run: Callable[[Path], Done],
    tmp_path: Path,
    forked_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "bakeoff"):
        forked = run(tmp_path / "forked")
    assert (len(forked_ids), caplog.messages) == (2, [])
    monkeypatch.setattr(forks, "CAN_FORK", False)
    fresh = run(tmp_path / "fresh")
    assert len(forked_ids) == 2
    found, wanted = (
        [each for each in done.readings if each.quantity not in (CALIBRATION, OVERHEAD)]
        for done in (forked, fresh)
    )
    assert found == wanted != []
    assert forked.facts == fresh.facts
    assert forked.environment.digest == fresh.environment.digest
    for name in ("thread_variables", "affinity", "nice"):
        assert forked.environment.facts[name] == fresh.environment.facts[name]
    made = [
        {path.name: path.read_bytes() for path in folder.iterdir() if path.name != COMPLETE_MARKER}
        for folder in (tmp_path / "forked" / "prepared", tmp_path / "fresh" / "prepared")
    ]
    assert made[0] == made[1] != {}
