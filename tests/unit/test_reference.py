"""The reference: what users, editors and scripts look up says what the code does."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from bakeoff import errors
from bakeoff.core.config.parse import STAGES
from bakeoff.core.validity import flags
from bakeoff.core.validity.flags import FLAGS
from bakeoff.stores import tags

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SCHEMAS = ROOT / "src" / "bakeoff" / "schemas"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *words], check=False, capture_output=True, text=True, cwd=ROOT, env=environment
    )


def faults(stage: str, text: str) -> list[str]:
    schema = json.loads((SCHEMAS / f"{stage}.json").read_text())
    return [error.message for error in Draft202012Validator(schema).iter_errors(yaml.safe_load(text))]


def test_settings_schemas_and_commands_are_written_down_as_they_are() -> None:
    done = run("tools/write_reference.py", "--check")
    assert (done.stdout, done.returncode) == ("", 0), (
        f"run tools/write_reference.py\n{done.stdout}{done.stderr}"
    )


def test_help_looks_as_it_always_did() -> None:
    assert run("-m", "bakeoff", "--help").stdout == (ROOT / "tests/golden/help.txt").read_text()


def test_every_setting_says_what_it_means() -> None:
    rows = [line.split(" | ") for line in (REFERENCE / "configuration.md").read_text().splitlines()]
    settings = [row for row in rows if row[0].startswith("| `") and len(row) > 2]
    assert len(settings) > 80
    assert [row[0] for row in settings if not row[-1].removesuffix("|").strip()] == []


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "models"])
def test_an_editor_accepts_the_example_configuration(stage: str) -> None:
    assert faults(stage, (ROOT / "src/bakeoff/demo/config" / f"{stage}.yaml").read_text()) == []


def test_an_editor_accepts_the_models_of_the_how_to() -> None:
    page = (ROOT / "docs/how-to/models-without-a-sweep.md").read_text()
    text = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0]
    assert faults("models", text) == []
    assert len(yaml.safe_load(text)) > 1
    assert faults("models", "new: {}") != []


@pytest.mark.parametrize(
    "text",
    [
        "protocol: {preset: rigorous, processes: 12}",
        "run: null",
        "scenarios: [{kind: server, limit_ms: 20}]",
    ],
)
def test_an_editor_accepts_the_short_forms(text: str) -> None:
    assert faults("benchmark", text) == []


@pytest.mark.parametrize(
    "text",
    [
        "protocol: {preset: fast}",
        "protocol: {round: 3}",
        "scenarios: [{kind: latency, batch_sizes: [0]}]",
        "n_texts: many",
    ],
)
def test_an_editor_marks_what_the_commands_refuse(text: str) -> None:
    assert faults("benchmark", text)


def calls() -> Iterator[ast.Call]:
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield node


def test_every_flag_of_the_table_is_raised_and_explained() -> None:
    raised = {
        node.func.value.id
        for node in calls()
        if isinstance(node.func, ast.Attribute)
        and node.func.attr == "raised"
        and isinstance(node.func.value, ast.Name)
    }
    assert {getattr(flags, name).name for name in raised} == set(FLAGS)
    told = re.findall(r"^\| `(\w+)", (REFERENCE / "flags.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(FLAGS)


def test_flags_are_made_by_the_table_alone() -> None:
    made = [node for node in calls() if isinstance(node.func, ast.Name) and node.func.id == "Flag"]
    assert len(made) == 1


def test_every_tag_is_explained_and_no_other() -> None:
    written = {
        text for name, text in vars(tags).items() if name.isupper() and str(text).startswith("bakeoff.")
    }
    told = re.findall(r"^\| `(bakeoff\.[\w.]+)`", (REFERENCE / "tags.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(written)


def test_every_error_stands_under_its_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| (.*?) \|$", (REFERENCE / "exit-codes.md").read_text(), re.MULTILINE)
    told = {(int(code), name) for code, names in rows for name in re.findall(r"`(\w+Error)`", names)}
    raised = {
        (kind.exit_code, name)
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
        and issubclass(kind, errors.BakeoffError)
        and kind is not errors.BakeoffError
    }
    assert told == raised
