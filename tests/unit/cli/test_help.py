"""Help on the terminal: near names, pages, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bakeoff.cli.help_pages import TOPICS, read_page
from bakeoff.cli.main import cli
from bakeoff.core.validity.flags import FLAGS

ROOT = Path(__file__).parents[3]


def run(*words: str) -> tuple[int, str]:
    """Run a command that ends before any stage begins; the streams are one."""
    done = CliRunner().invoke(cli, words, terminal_width=100)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["benhc"], "No such command 'benhc'; did you mean bench?"),
        (["help", "flgas"], "No such topic 'flgas'; did you mean flags?"),
        (
            ["help", "qqq"],
            "expected flags, exit-codes, layouts, guarantees, a command, or the name of a flag",
        ),
        (["qqq"], "No such command 'qqq'; expected one of try, init, doctor"),
    ],
)
def test_a_wrong_name_gets_the_nearest_right_one(words: list[str], hint: str) -> None:
    code, said = run(*words)
    assert code == 2
    assert hint in said


def test_a_wrong_option_gets_the_nearest_right_one() -> None:
    code, said = run("bench", "--quik")
    assert code == 2
    assert "--quick" in said


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_shows_its_page(topic: str) -> None:
    code, said = run("help", topic)
    assert code == 0
    title = (ROOT / "docs" / TOPICS[topic]).read_text(encoding="utf-8").splitlines()[0]
    assert title.removeprefix("# ") in said
    assert "](" not in said  # the target of a link is not on the terminal
    assert read_page(topic) == (ROOT / "docs" / TOPICS[topic]).read_text(encoding="utf-8")


def test_help_knows_commands_and_single_flags() -> None:
    assert run("help", "bench")[1] == run("bench", "--help")[1]
    code, said = run("help", "contended")
    assert (code, FLAGS["contended"].fix in said) == (0, True)
    code, said = run("help")
    assert (code, "Topics: flags, exit-codes, layouts, guarantees" in said) == (0, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = run("completion", shell)
    assert (code, "_BAKEOFF_COMPLETE" in said) == (0, True)


def test_a_shell_completes_a_command_and_imports_no_stage() -> None:
    program = (
        "import sys; sys.argv = ['bakeoff']; from bakeoff.cli import main\n"
        "try: main()\n"
        "finally: print('stages' if 'bakeoff.cli.stages' in sys.modules else 'light')"
    )
    environment = os.environ | {
        "_BAKEOFF_COMPLETE": "bash_complete",
        "COMP_WORDS": "bakeoff be",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["plain,bench", "light"], "")


def test_every_command_is_in_the_help() -> None:
    said = run("--help")[1]
    assert [name for name in cli.list_commands(click.Context(cli)) if f"\n  {name} " not in said] == []
