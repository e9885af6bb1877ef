"""Progress on a terminal: a bar that moves step by step, and nothing that runs in between."""

from __future__ import annotations

import threading

import pytest

from bakeoff.cli.output import StderrProgress


def test_a_bar_moves_with_each_step_and_no_thread_draws_it_beside_what_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # rich 13 knows this sign of a terminal, too.
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    before = threading.enumerate()
    with StderrProgress().track("bench", 3) as advance:
        assert threading.enumerate() == before
        assert "0/3" in capsys.readouterr().err
        advance("repeat 1")
        assert threading.enumerate() == before
        drawn = capsys.readouterr().err
        assert "1/3" in drawn
        assert "repeat 1" in drawn
