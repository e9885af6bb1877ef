"""The book as its reader follows it: pages from top to bottom, on models so small that it takes seconds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.decision.decide import Decision, read_decision
from bakeoff.orchestrator import open_project, sweep
from book import ROOT, find_commands, list_blocks, list_inputs, list_tutorial_edits, read_page, write_files
from command_line import bakeoff
from integration.conftest import write_project
from integration.tasks.test_tensors import write_graph, write_inputs

# Each follows a page with real sweeps and benches.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
FAST = tuple(
    f"--set=benchmark.protocol.{name}={value}"
    for name, value in {
        "processes": 3,
        "rounds": 2,
        "block_s": 0.005,
        "max_calls": 10,
        "warmup_min_s": 0.0,
        "warmup_max_s": 0.1,
    }.items()
)
# Whatever else this machine does: a winner, or a busy machine, or a tie.
DECIDED = (0, 4)
LOADS_FROM_ELSEWHERE = re.compile(
    r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*\""
)
LEARNS = {
    "training": {"epochs": 12},
    "search_space": {"learning_rate": {"kind": "float", "low": 0.01, "high": 0.02}},
}


def vary(source: Path, target: Path, eps: float) -> Path:
    """Copy a checkpoint, with a setting that makes it another model."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "layer_norm_eps": eps}))
    return target


@pytest.fixture
def demo(tiny_backbone: Path, tmp_path: Path) -> Path:
    """What ``make demo`` leaves and the tutorial reads: a finished sweep, and labelled documents."""
    backbones = {
        f"minilm-l{n}": vary(tiny_backbone, tmp_path / f"backbone-{n}", 1e-12 * n) for n in (2, 3, 6)
    }
    changes = {"hpo": LEARNS, "tracking": {"sweep_experiment": "demo-sweep"}}
    project = open_project(write_project(tmp_path / "demo", backbones, changes))
    assert [result.failure for result in sweep(project)] == [None] * 3
    return tmp_path / "demo"


def type_in(shell: str, folder: Path) -> Path:
    """Do what the lines of a page do that are no commands of bakeoff; returns the folder afterwards."""
    for simple in shell.split(" && "):
        match simple.split():
            case ["pip", "install", *_]:
                pass
            case ["mkdir", name]:
                folder.joinpath(name).mkdir()
            case ["cp", source, target]:
                shutil.copy(folder / source, folder / target)
            case ["cd", name]:
                folder = folder / name
            case _:
                pytest.fail(f"the page has a new kind of line: {shell}")
    return folder


def test_the_tutorial_works_from_top_to_bottom(demo: Path, tmp_path: Path) -> None:
    page = read_page("docs/tutorial.md")
    shown, folder = page.read_text(encoding="utf-8"), tmp_path
    edits = list_tutorial_edits()
    promised = {
        "init": ["layout bakeoff (certain)", "wrote config/data.yaml (2 TODOs)", "next: replace each TODO"],
        "doctor": ["configuration: 3 backbones; all keys are valid", "0 faults"],
        "champions": ["stable score", "minilm-l3"],
        "plan": ["6 to measure, 0 reused, 0 left alone", "new champion"],
        "run": ["6 measured, 0 failed, 0 reused, 0 left alone", "P(best)", "report: "],
        "plan again": ["3 to measure, 3 reused, 0 left alone", "config changed: min_repeats (3 → 5)"],
    }
    done = list[str]()
    for block in list_blocks(page):
        for _, line in list_inputs(block):
            commands = list(find_commands(line))
            if not commands:
                folder = type_in(line, folder)
                continue
            (words,) = commands
            stage = words[0] if words[0] not in done else f"{words[0]} again"
            if stage in edits:
                edits[stage](folder)
            found = bakeoff(folder, *words, *(FAST if words[0] == "run" else ()))
            assert found.returncode in (DECIDED if words[0] == "run" else (0,)), found.stderr
            for text in promised[stage]:
                assert text in shown, f"the tutorial no longer shows {text!r}"
                assert text in " ".join(found.stdout.split()), found.stdout + found.stderr
            done.append(stage)
    assert done == list(promised)
    explained = bakeoff(folder, "plan", "--explain", "minilm-l3 × onnxruntime-fp32 × latency")
    assert explained.returncode == 0, explained.stderr
    decided = bakeoff(folder, "decide", "--quick", *FAST, "--json")
    Decision.model_validate(json.loads(decided.stdout)["result"])
    exported = bakeoff(folder, "export", "--what", "measurements", "--format", "json", "-")
    assert len(json.loads(exported.stdout)["rows"]) > 6


def test_the_first_look_at_a_bare_graph_works_as_written(tmp_path: Path) -> None:
    """The two other commands of the block take minutes; test_trial has their kind."""
    write_graph(tmp_path / "model.onnx", 1)
    write_inputs(tmp_path / "inputs.npz")
    block = list_blocks(read_page("docs/how-to/models-without-a-sweep.md"))[0]
    *_, words = [words for _, line in list_inputs(block) for words in find_commands(line)]
    assert "detector=./model.onnx" in words
    fewest = ("--set=benchmark.protocol.processes=2", "--set=benchmark.n_texts=20")
    done = bakeoff(tmp_path, *words, *FAST, *fewest)
    assert done.returncode in DECIDED, done.stderr
    assert ", 0 failed, " in done.stdout, done.stdout
    assert (tmp_path / "bakeoff-try/results").is_dir()


def test_a_task_of_your_own_runs_as_the_how_to_has_it(tmp_path: Path) -> None:
    page = read_page("docs/how-to/bring-your-own-task.md")
    write_files(page, tmp_path, "extractors.py", "judge.py", "bakeoff.yaml")
    (rows,) = (block.text for block in list_blocks(page) if block.language == "json")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.jsonl").write_text(rows)
    checked = bakeoff(tmp_path, "doctor")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = bakeoff(tmp_path, "run", "--quick", *FAST)
    assert done.returncode in DECIDED, done.stderr
    assert "exact match" in done.stdout
    decision = read_decision((tmp_path / "results/decision.json").read_bytes(), "decision.json")
    found = {row.label: row.quality.value for row in decision.standings if row.quality}
    # By hand: the first number is the amount in rows 1, 3, 5 and 6, the largest in 1, 2, 3, 4 and 6.
    assert found == pytest.approx({"first × python": 4 / 6, "largest × python": 5 / 6})


def test_the_book_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    words: list[Any] = ["-W", "--keep-going", "-q", "-c", ROOT / "docs", "-d", tmp_path / "doctrees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, ROOT, tmp_path / "book"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    pages = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "book").rglob("*.html")}
    assert tmp_path / "book/docs/reference/python.html" in pages
    assert "Measure the missing jobs" in pages[tmp_path / "book/docs/reference/python.html"]
    found = {str(path): LOADS_FROM_ELSEWHERE.findall(text) for path, text in pages.items()}
    assert {path: links for path, links in found.items() if links} == {}
    styles = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "book").rglob("*.css"))
    assert re.findall(r"@import|url\(['\"]?(?:https?:)?//", styles) == []
