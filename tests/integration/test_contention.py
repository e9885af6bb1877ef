"""A machine that is too busy, from the first bench to the decision: kept, told, tried again, never a pass."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from command_line import bakeoff, read_document

RUNTIMES = [{"kind": "onnxruntime", "threads": 1}, {"kind": "onnxruntime", "threads": 1, "spinning": False}]
MAX_ATTEMPTS = 2

# Runs at the start of every worker: the kernel's counters say what the test says, whatever this machine does.
SITECUSTOMIZE = """
import os
from bakeoff.measure.system.kernel_counters import KernelCounters

def end(self, wall_ns):
    is_busy = os.path.exists({busy!r})
    return {{}}, ("waited for a CPU 90.0% of the time (limit 10%)",) if is_busy else ()

KernelCounters.end = end
"""


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file while which is there every block of every worker is disturbed, and none without it."""
    folder = tmp_path / "site"
    folder.mkdir()
    busy = folder / "busy"
    busy.touch()
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE.format(busy=str(busy)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *_python_path()]))
    return busy


def _python_path() -> list[str]:
    import bakeoff as package

    return [str(Path(package.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]


@pytest.fixture
def folder(project_folder: Path) -> Path:
    """A project in which two runtimes are not measured yet, and contended measurements are not accepted."""
    change(project_folder, accept_contended=False, max_attempts=MAX_ATTEMPTS, runtimes=RUNTIMES)
    return project_folder


def change(folder: Path, **values: object) -> None:
    path = folder / "config" / "benchmark.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def ask(folder: Path, *words: str, code: int) -> Any:
    done = bakeoff(folder, *words, "--json")
    assert done.returncode == code, done.stderr
    return read_document(done.stdout)["result"]


def plan_of_latency(folder: Path) -> set[tuple[str, str, int]]:
    rows = ask(folder, "plan", code=0)
    return {
        (row["action"], row["reason"], row["attempt"]) for row in rows if row["job"].endswith("× latency")
    }


@pytest.mark.slow
def test_contended_measurements_are_kept_tried_again_and_never_a_pass(busy: Path, folder: Path) -> None:
    first = bakeoff(folder, "bench")
    assert first.returncode == 4
    assert "Not a pass: the machine was too busy (contended) for 2 jobs." in first.stdout
    assert "Run `bakeoff bench` again on a quiet machine" in first.stdout
    assert "benchmark.accept_contended" in first.stdout
    assert plan_of_latency(folder) == {("measure", "earlier attempt invalid: contended", 2)}
    assert bakeoff(folder, "plan", "--exit-code", "-q").returncode == 10

    second = ask(folder, "bench", code=4)
    keys = second["contended"]
    assert [(row["key"], row["validity"]) for row in second["measured"]] == [
        (key, "contended") for key in keys
    ]
    used_up = "2 of 2 attempts are used up; the last was invalid: contended"
    assert plan_of_latency(folder) == {("leave", used_up, 2)}
    assert bakeoff(folder, "plan", "--exit-code", "-q").returncode == 0

    third = ask(folder, "bench", code=4)
    assert (third["measured"], third["contended"]) == ([], keys)
    assert [row["key"] for row in third["left"]] == keys

    decision = ask(folder, "decide", code=4)
    assert decision["outcome"] == "winner"
    assert sorted(decision["not_done"]) == sorted(row["label"] for row in decision["standings"])
    assert any("low confidence: the machine was busy" in reason for reason in decision["reasons"])
    assert any("not a pass" in reason for reason in decision["reasons"])
    assert bakeoff(folder, "run", "-q").returncode == 4
    refused = bakeoff(folder, "promote")
    assert refused.returncode == 3
    assert "is not valid (contended)" in refused.stderr

    busy.unlink()
    change(folder, max_attempts=MAX_ATTEMPTS + 1)
    fourth = ask(folder, "bench", code=0)
    assert {(row["key"], row["validity"]) for row in fourth["measured"]} == {(key, "valid") for key in keys}
    assert fourth["contended"] == []
    assert {row[0] for row in plan_of_latency(folder)} == {"reuse"}
    decision = ask(folder, "decide", code=0)
    assert (decision["outcome"], decision["not_done"]) == ("winner", [])
    assert sorted(used["attempt"] for used in decision["measurements"]) == [1, 1, 3, 3]


@pytest.mark.slow
def test_where_they_are_accepted_they_pass_and_are_flagged(busy: Path, folder: Path) -> None:
    change(folder, accept_contended=True)
    result = ask(folder, "bench", code=0)
    assert {row["validity"] for row in result["measured"]} == {"valid"}
    decision = ask(folder, "decide", code=0)
    assert decision["not_done"] == []
    assert any("low confidence: the machine was busy" in reason for reason in decision["reasons"])
    assert busy.exists()
