"""The notebook, executed as a user would on a project of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
import yaml

from bakeoff.disk.sealed import open_sealed
from bakeoff.orchestrator import Project, plan

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "02_best_config_selection.ipynb"


def execute(project_folder: Path, target: Path) -> dict[str, Any]:
    """Run the notebook on a project; returns the outputs of each cell by its name."""
    papermill.execute_notebook(
        NOTEBOOK,
        target,
        parameters={"project_folder": str(project_folder)},
        kernel_name="python3",
        cwd=target.parent,
        progress_bar=False,
    )
    cells = json.loads(target.read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: cell["outputs"] for cell in cells if cell["cell_type"] == "code"}


def html(outputs: list[Any]) -> str:
    return "".join(line for output in outputs if "data" in output for line in output["data"]["text/html"])


@pytest.mark.slow
def test_the_notebook_ends_with_the_decision_that_bakeoff_decide_makes(
    project_folder: Path, tmp_path: Path, reopen: Callable[..., Project]
) -> None:
    settings = project_folder / "config" / "benchmark.yaml"
    section = yaml.safe_load(settings.read_text())
    section["scenarios"][1]["batch_sizes"] = [1, 3]
    settings.write_text(yaml.safe_dump(section))
    kept = project_folder / "results" / "decision.json"
    kept.unlink()
    (tmp_path / "run").mkdir()

    outputs = execute(project_folder, tmp_path / "run" / "first.ipynb")

    assert "1 of 1 backbone with a champion" in html(outputs["champions"])
    assert "2 to measure, 2 reused" in html(outputs["plan"])
    assert "config changed: batch_sizes ([1,2] → [1,3])" in html(outputs["plan"])
    assert "1 champion" in html(outputs["missing"])
    assert "0 to measure, 4 reused" in html(outputs["after"])
    made = open_sealed(kept.read_bytes())
    assert made["winner"] in html(outputs["decide"])
    assert outputs["winner"][0]["data"]["text/plain"] == [repr(made["winner"])]
    decided = subprocess.run(
        [sys.executable, "-m", "bakeoff", "decide", "--json", "-c", str(project_folder / "config")],
        capture_output=True,
        check=True,
    )
    assert json.loads(decided.stdout)["result"] == made

    again = execute(project_folder, tmp_path / "run" / "second.ipynb")
    assert "0 to measure, 4 reused" in html(again["plan"])
    assert "0 champions" in html(again["missing"])
    assert plan(reopen()).todo == ()
    assert html(again["decide"]) == html(outputs["decide"])


def test_the_notebook_is_stored_clean() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["source"] for cell in code if "parameters" in cell["metadata"].get("tags", [])] == [
        ['project_folder = "../demo"']
    ]
