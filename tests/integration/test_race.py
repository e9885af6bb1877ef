"""Races on real processes: functions of Python whose quality and speed are known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.records import Measurement
from bakeoff.orchestrator import Project, bench, decide, open_project, plan
from bakeoff.report.text.decision import list_reasons
from command_line import bakeoff

FACTORIES = """
import time


class Model:
    def __init__(self, delay_s, rule):
        self._delay_s = delay_s
        self._rule = rule

    def predict(self, rows):
        end = time.perf_counter() + self._delay_s
        while time.perf_counter() < end:
            pass
        return [self._rule(int(row["text"])) for row in rows]


def parity(number):
    return "odd" if number % 2 else "even"


def fast():
    return Model(0.0005, parity)


def slow():
    return Model(0.005, parity)


def wrong():
    return Model(0.0, lambda number: "odd")
"""
CONFIG: dict[str, Any] = {
    "tracking": {"benchmark_experiment": "benchmark"},
    "data": {"test": "test.jsonl", "task": {"kind": "text_classification"}},
    "models": {
        name: {"factory": f"factories:{name}", "trust_code": True} for name in ("slow", "fast", "wrong")
    },
    "benchmark": {
        "accept_contended": True,
        "protocol": {
            "min_repeats": 5,
            "max_repeats": 8,
            "rounds": 4,
            "block_s": 0.02,
            "max_calls": 20,
            "warmup_min_s": 0.0,
            "targets": {"p50": 1e-4, "p95": None, "p99": None, "ratio": None},
        },
        "n_texts": 20,
        "scenarios": [{"kind": "quality"}, {"kind": "latency", "batch_sizes": [1]}],
    },
    "decision": {"objective": {"kind": "lexicographic", "accuracy_threshold": 0.02}, "resamples": 400},
}
Reopen = Callable[..., Project]


@pytest.fixture
def reopen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reopen:
    """Open a project with three models: the right and slow one is the reference, one is wrong."""
    rows = [{"text": str(number), "label": "odd" if number % 2 else "even"} for number in range(120)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "factories.py").write_text(FACTORIES)
    (tmp_path / "bakeoff.yaml").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return lambda *overrides: open_project(tmp_path / "bakeoff.yaml", overrides)


def name_timed(measured: tuple[Measurement, ...]) -> dict[str, Measurement]:
    return {each.job.backbone: each for each in measured if each.job.scenario.kind == "latency"}


@pytest.mark.slow
def test_a_race_leaves_out_who_cannot_win_ends_when_it_is_decided_and_is_not_run_again(
    reopen: Reopen, tmp_path: Path
) -> None:
    done = bench(reopen(), "decided")
    assert done.failed == ()
    timed = name_timed(done.measured)
    assert set(timed) == {"slow", "fast"}
    (left,) = done.plan.left
    assert left.job.backbone == "wrong"
    assert left.reason.startswith("not timed: it cannot win (outside the accuracy threshold: accuracy 0.5")
    assert left.is_at_rest
    heat = timed["fast"].heat
    assert heat is not None
    assert (heat.stopped, heat.repeats, heat.unmet) == ("decided", 3, ())
    decision = decide(reopen())
    assert decision.winner == "fast × python"
    (untimed,) = decision.incomplete
    assert untimed.startswith("wrong × python: not timed: it cannot win (outside")
    assert untimed in " ".join(list_reasons(decision))

    planned = plan(reopen())
    assert planned.todo == ()
    assert [each.reason for each in planned.left] == [left.reason]
    assert bench(reopen(), "decided").measured == ()
    shown = bakeoff(tmp_path, "plan", "--exit-code")
    assert shown.returncode == 0, shown.stderr
    assert "not timed: it cannot win" in " ".join(shown.stdout.split())


@pytest.mark.slow
def test_a_measurement_in_full_serves_a_race_and_not_the_reverse(reopen: Reopen) -> None:
    raced = bench(reopen(), "decided")
    quick = ("benchmark.protocol.min_repeats=3", "benchmark.protocol.max_repeats=3")
    full = bench(reopen(*quick))
    assert set(name_timed(full.measured)) == {"slow", "fast", "wrong"}
    assert {each.heat.stopped for each in name_timed(full.measured).values() if each.heat} == {"repeats"}
    assert bench(reopen(*quick), "decided").measured == ()
    standings = decide(reopen(*quick)).standings
    assert {row.backbone for row in standings} == {"slow", "fast", "wrong"}
    keys = {each.job.key for each in (*raced.measured, *full.measured)}
    assert len(keys) == 3 + 2 + 3


@pytest.mark.slow
def test_a_new_model_races_beside_the_reference_alone(reopen: Reopen) -> None:
    by_speed = "decision.objective={kind: fastest}"
    two = {name: model for name, model in CONFIG["models"].items() if name != "fast"}
    first = bench(reopen(f"models={json.dumps(two)}", by_speed), "decided")
    assert len(name_timed(first.measured)) == 2
    again = bench(reopen(by_speed), "decided")
    assert [each.job.backbone for each in again.measured] == ["fast", "fast"]
    heat = name_timed(again.measured)["fast"].heat
    assert heat is not None
    assert heat.candidates == ("slow × python", "fast × python")
    assert decide(reopen(by_speed)).winner == "wrong × python"


@pytest.mark.slow
def test_on_request_every_command_measures_to_the_targets(reopen: Reopen) -> None:
    done = bench(reopen("benchmark.until=intervals", "benchmark.protocol.max_repeats=5"), "decided")
    assert {each.heat.repeats for each in name_timed(done.measured).values() if each.heat} == {5}
    assert done.plan.left == ()
