"""SIGINT and SIGTERM: one line, the documented exit code, in time, and no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from living import find_survivors

PATIENCE_S = 60.0
# The command line as it is, around a command that does what a test says; a child of it sleeps.
RUN = """
import hashlib, importlib, os, sys, time
from pathlib import Path
from bakeoff.cli import signals
from bakeoff.run.machine import processes
main = importlib.import_module("bakeoff.cli.main")
signals.GRACE_S = {grace_s}
place = Path({place!r})

def say(name, text=""):
    aside = place / ("." + name)
    aside.write_text(str(text))
    aside.rename(place / name)

def act(**_):
    child = processes.start_python("sleeper", [], place, {{}}, named=[], pass_fds=[], stdout=2, stderr=2)
    say("child", child.pid)
    {statement}

main.cli.main = act
main.main()
"""
SLEEPER = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
CODES = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
NEVER_S = 500.0


class Started:
    """A command that was started."""

    def __init__(self, place: Path, statement: str, *, grace_s: float = NEVER_S, ignored: str = "") -> None:
        (place / "sleeper.py").write_text(SLEEPER)
        program = RUN.format(place=str(place), statement=statement, grace_s=grace_s)
        # A shell lets what it starts in the background ignore SIGINT, and a child inherits that.
        handler = "SIG_IGN" if ignored == "SIGINT" else "default_int_handler"
        program = f"import signal; signal.signal(signal.SIGINT, signal.{handler})\n{program}"
        paths = [str(place), *filter(None, sys.path)]
        self._place = place
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )

    def wait_for(self, name: str) -> str:
        """Wait until the command has said so; returns what."""
        deadline = time.monotonic() + PATIENCE_S
        while not (self._place / name).exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return (self._place / name).read_text()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill_child(self) -> None:
        """Kill its child and all that this one started, if any of them is left."""
        if (self._place / "child").exists():
            with suppress(ProcessLookupError):
                os.killpg(int((self._place / "child").read_text()), signal.SIGKILL)

    def end(self) -> tuple[int, str, list[object]]:
        """Exit code, what stands on stderr, and the processes that are left."""
        child = int(self.wait_for("child"))
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said, list(find_survivors([child]))


@pytest.fixture
def started() -> Iterator[list[Started]]:
    """Commands that end with the test."""
    made: list[Started] = []
    yield made
    for each in made:
        each.process.kill()
        each.kill_child()  # it holds the other end of the pipes
        each.process.communicate()


def line(word: str) -> str:
    return f"{word}; finished work is kept: run the same command again to go on\n"


@pytest.mark.parametrize(("number", "code", "word"), CODES)
def test_a_signal_ends_a_command_with_one_line_after_it_has_cleaned_up(
    tmp_path: Path, started: list[Started], number: int, code: int, word: str
) -> None:
    statement = """
    try:
        say("asleep"); time.sleep(600)
    finally:
        say("clean")
    """
    started.append(command := Started(tmp_path, statement))
    command.wait_for("asleep")
    command.send(number)
    assert command.end() == (code, line(word), [])
    assert (tmp_path / "clean").exists()


@pytest.mark.parametrize(
    "statement",
    [
        # A store that does not answer while claims are given back.
        "try: say('asleep'); time.sleep(600)\n    finally: time.sleep(600)",
        # Outside of Python, where no handler of Python runs.
        "say('asleep'); hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)",
        # A library that swallows what was raised, and one that goes on asking.
        "exec('say(\\'asleep\\')\\nwhile True:\\n try: time.sleep(600)\\n except BaseException: pass')",
    ],
    ids=["cleaning", "outside", "swallowed"],
)
def test_a_command_that_does_not_come_to_its_end_is_ended(
    tmp_path: Path, started: list[Started], statement: str
) -> None:
    started.append(command := Started(tmp_path, statement, grace_s=0.3))
    command.wait_for("asleep")
    command.send(signal.SIGTERM)
    assert command.end() == (143, line("terminated"), [])


def test_a_fault_while_cleaning_up_does_not_hide_the_signal(tmp_path: Path, started: list[Started]) -> None:
    statement = "try: say('asleep'); time.sleep(600)\n    finally: 1 / 0"
    started.append(command := Started(tmp_path, statement))
    command.wait_for("asleep")
    command.send(signal.SIGTERM)
    assert command.end() == (143, line("terminated"), [])


def test_a_signal_that_comes_again_does_not_disturb_cleaning_up(
    tmp_path: Path, started: list[Started]
) -> None:
    statement = """
    try:
        say("asleep"); time.sleep(600)
    finally:
        say("cleaning"); time.sleep(0.5); say("clean")
    """
    started.append(command := Started(tmp_path, statement))
    command.wait_for("asleep")
    command.send(signal.SIGINT)
    command.wait_for("cleaning")
    command.send(signal.SIGINT)
    command.send(signal.SIGTERM)
    assert command.end() == (130, line("interrupted"), [])
    assert (tmp_path / "clean").exists()


def test_a_signal_that_the_caller_had_ignored_stays_ignored(tmp_path: Path, started: list[Started]) -> None:
    statement = """
    say("asleep")
    while not (place / "enough").exists(): time.sleep(0.01)
    os.killpg(child.pid, 9); child.wait()
    """
    started.append(command := Started(tmp_path, statement, ignored="SIGINT"))
    command.wait_for("asleep")
    command.send(signal.SIGINT)
    (tmp_path / "enough").touch()
    assert command.end() == (0, "", [])


def test_what_handles_a_signal_in_our_place_does_not_change_the_exit_code(
    tmp_path: Path, started: list[Started]
) -> None:
    """ray does while it connects."""
    statement = """
    import signal
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit(1)))
    say("asleep"); time.sleep(600)
    """
    started.append(command := Started(tmp_path, statement))
    command.wait_for("asleep")
    command.send(signal.SIGTERM)
    assert command.end() == (143, line("terminated"), [])
