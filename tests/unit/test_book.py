"""The book says what the code does: every command is parsed, every setting is read, every name exists.

Nothing of it is executed here; tests/integration/test_book.py follows the pages step by step.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
import yaml

import bakeoff
from bakeoff.cli.main import cli
from bakeoff.core.config.parse import STAGES, parse_document, parse_settings
from bakeoff.core.decision.decide import Decision
from bakeoff.errors import ConfigError
from bakeoff.stores.layouts.layout import Layout
from book import (
    PAGES,
    ROOT,
    Block,
    Command,
    find_commands,
    is_workflow,
    list_all_blocks,
    list_blocks,
    list_commands,
    list_inputs,
    list_scripts,
    list_spans,
    place,
    split_files,
)

# Its commands are the help itself.
GENERATED = ROOT / "docs" / "reference" / "commands.md"
# What an excerpt of a configuration need not repeat.
BASE = {
    "models": ("models.yaml", "named: ./folder\n"),
    "benchmark": ("benchmark.yaml", "scenarios: [{kind: quality}, {kind: latency}]\n"),
}
# What a reader replaces by a value of their own.
PLACEHOLDERS = {
    "runs:/RUN/": f"runs:/{'0' * 32}/",
    "models:/m-ID": f"models:/m-{'0' * 32}",
    "$head": "h:6379",
}


def fill(text: str) -> str:
    for name, value in PLACEHOLDERS.items():
        text = text.replace(name, value)
    return text


def find_fault(command: Command) -> str | None:
    """Let click parse a command with its real options; nothing is invoked."""
    group = click.Context(cli, info_name="bakeoff")
    name, *words = command.words
    if name.startswith("-"):
        return None if any(name in each.opts for each in cli.get_params(group)) else f"no option {name}"
    found = cli.get_command(group, name)
    if found is None:
        return f"no command {name!r}"
    try:
        context = found.make_context(name, words, parent=group)
    except click.exceptions.Exit:  # --help
        return None
    except click.MissingParameter as error:
        return error.format_message() if command.is_whole else None
    except click.UsageError as error:
        return error.format_message()
    return find_wrong_settings(context.params.get("overrides", ()))


def find_wrong_settings(overrides: Sequence[str]) -> str | None:
    try:
        parse_settings(BASE, [fill(each) for each in overrides])
    except ConfigError as error:
        return str(error)
    return None


def test_every_command_of_the_book_is_one_that_the_command_line_takes() -> None:
    commands = [command for page in PAGES if page != GENERATED for command in list_commands(page)]
    assert len(commands) > 150
    assert {command.words[0] for command in commands} >= {"try", "run", "compare", "promote", "export"}
    assert [f"{each.place}: {fault}" for each in commands if (fault := find_fault(each))] == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("$ bakeoff bnech", "no command 'bnech'"),
        ("bakeoff bench --fast || code=$?", "No such option"),
        ("A=1 bakeoff compare one > out.md", "Missing argument 'B'."),
        ("srun --ntasks=1 bakeoff bench --set benchmark.round=3", "unknown key 'round'"),
    ],
)
def test_a_wrong_command_in_a_page_is_found(line: str, fault: str) -> None:
    block = Block(ROOT / "README.md", 1, "sh", f"{line}\n")
    ((_, text),) = list_inputs(block)
    (words,) = find_commands(text)
    assert fault in str(find_fault(Command("here", words)))


def test_every_setting_that_a_sentence_names_with_a_value_is_one() -> None:
    named = [
        (where, text.removeprefix("--set "))
        for page in PAGES
        for where, text in list_spans(page)
        if text.startswith("--set ") and text != "--set stage.key=value"
    ]
    assert named
    faults = [f"{where}: {fault}" for where, text in named if (fault := find_wrong_settings([text]))]
    assert faults == []


CONFIGURATIONS = [block for block in list_all_blocks("yaml") if not is_workflow(block)]


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=[block.place for block in CONFIGURATIONS])
def test_every_configuration_of_the_book_is_read_without_a_fault(block: Block) -> None:
    page = str(block.page.relative_to(ROOT))
    sections, whole = dict[str, tuple[str, str]](), set[str]()
    for name, written in split_files(block):
        text = fill(written)
        stage = Path(name).stem
        content = yaml.safe_load(text)
        if stage in STAGES:
            sections[stage] = (page, text)
        elif set(content) <= set(STAGES):
            sections[""] = (page, text)
            whole = set(content)
        else:
            assert {"writer", "trial"} & set(content), f"{block.place}: begin it with the name of its file"
            parse_document(Layout, page, text)
    parse_settings({name: BASE[name] for name in BASE if name not in whole} | sections)


WORKFLOWS = [block for block in list_all_blocks("yaml") if is_workflow(block)]


@pytest.mark.parametrize("block", WORKFLOWS, ids=[block.place for block in WORKFLOWS])
def test_a_workflow_is_whole(block: Block) -> None:
    content = yaml.safe_load(block.text)
    # YAML 1.1 reads the key `on` as a flag.
    assert {"name", True, "permissions", "jobs"} <= set(content)
    for job in content["jobs"].values():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job)
        for step in job["steps"]:
            assert len({"uses", "run"} & set(step)) == 1, step
            assert "@" in step.get("uses", "@")


def test_every_script_of_the_book_is_one_that_a_shell_reads() -> None:
    scripts = [script for block in list_all_blocks("sh", "bash", "yaml") for script in list_scripts(block)]
    assert len(scripts) > 10
    # Expressions of GitHub are replaced before a shell sees them.
    texts = [re.sub(r"\$\{\{.*?\}\}", "x", script.text) for script in scripts]
    whole = "".join(
        f": '{script.place}'\nf() {{\n{text}\n}}\n" for script, text in zip(scripts, texts, strict=True)
    )
    done = subprocess.run(["bash", "-n"], input=whole, text=True, capture_output=True, check=False)
    lines = [int(number) for number in re.findall(r"line (\d+)", done.stderr)]
    assert done.returncode == 0, done.stderr + "\n".join(whole.splitlines()[: max(lines, default=0)][-20:])


def test_every_document_of_the_book_is_json() -> None:
    for block in list_all_blocks("json"):
        for number, line in enumerate(block.text.splitlines(), block.line):
            assert isinstance(json.loads(line), dict), place(block.page, number)


def test_paths_into_a_decision_exist() -> None:
    named = [
        (block.place, field)
        for block in list_all_blocks("sh")
        for field in re.findall(r"\.result\.(\w+)", block.text)
    ]
    assert named
    assert [each for each in named if each[1] not in Decision.model_fields] == []


def names_of_ours(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield each name of ours that a program uses, with its module."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "bakeoff":
                yield from ((module, each.name) for each in names)
            case ast.Attribute(value=ast.Name(id="bakeoff"), attr=name):
                yield "bakeoff", name


def test_every_program_of_the_book_is_python_and_uses_names_that_exist() -> None:
    blocks = list_all_blocks("python")
    assert len(blocks) > 5
    for block in blocks:
        tree = ast.parse(textwrap.dedent(block.text), block.place)
        for module, name in names_of_ours(tree):
            assert hasattr(importlib.import_module(module), name), f"{block.place}: {module}.{name}"


def test_the_programs_of_the_book_open_a_project_as_they_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "hpo.yaml").write_text("backbones: {tiny: {}}")
    opened = [
        node.value
        for block in list_all_blocks("python")
        for node in ast.walk(ast.parse(textwrap.dedent(block.text)))
        if isinstance(node, ast.Assign) and "bakeoff.open_project(" in ast.unparse(node.value)
    ]
    assert opened
    for call in opened:
        project = eval(ast.unparse(call), {"bakeoff": bakeoff, "Path": Path})  # noqa: S307
        assert list(project.settings.hpo.backbones) == ["tiny"]


def test_the_python_reference_has_every_public_name_and_no_other() -> None:
    (page,) = (page for page in PAGES if page.name == "python.md")
    named = [
        target
        for block in list_blocks(page)
        for target in re.findall(r"^\.\. auto\w+:: (\S+)", block.text, re.MULTILINE)
    ]
    assert len(named) == len(set(named))
    assert {f"bakeoff.{name}" for name in bakeoff.__all__} <= set(named)
    for target in named:
        module, _, name = target.rpartition(".")
        assert getattr(importlib.import_module(module), name).__doc__, target


def test_every_page_is_named_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\(([^)#]+\.md)\)", index))
    folded = set(re.findall(r"^[\w./-]+$", index, re.MULTILINE))
    pages = {os.path.relpath(page, ROOT / "docs") for page in PAGES if page.parent.name != "decisions"} - {
        "index.md"
    }
    assert pages - listed == set()
    assert {page.removesuffix(".md") for page in pages} - folded == set()
