"""SIGTERM and SIGINT at the stages of the pipeline: nothing of a command is left."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import halted_worker
from bakeoff.run.machine.lock import measuring
from command_line import Command, start
from halting import halt_in_repeat, halt_untimed, wait_until_halted
from living import PATIENCE_S, find_survivors, is_alive
from services import HOST

MARK = "BAKEOFF_TEST_MARK"
SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
NOOP = (
    "benchmark.runtimes=[{kind: noop}]",
    "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]",
)
STUCK = """
import subprocess, time
from pathlib import Path

class Trainer:
    def train(self, order):
        subprocess.Popen(["sleep", "600"])
        Path(__file__).with_name("trains").touch()
        time.sleep(600)
"""


class Family:
    """What a command started, and what that started, wherever it went: they carry a mark."""

    def __init__(self, place: Path) -> None:
        self._mark = str(place)
        self._commands: list[Command] = []

    def start(self, folder: Path, *words: str, prepare: Callable[[], object] = int) -> Command:
        """Start a command that ends with the test."""
        command = start(folder, *words, prepare=partial(_mark, self._mark, prepare))
        self._commands.append(command)
        return command

    def find(self) -> list[psutil.Process]:
        """Find those that are alive."""
        return [each for each in psutil.process_iter() if _mark_of(each) == self._mark and is_alive(each)]

    def kill(self) -> None:
        """End the commands."""
        for each in self._commands:
            each.process.kill()
            each.process.join()


def _mark(mark: str, prepare: Callable[[], object]) -> None:
    os.environ[MARK] = mark
    prepare()


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path)
    yield family
    family.kill()


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except psutil.Error:
        return None


def stop(command: Command, number: int) -> tuple[int, list[str]]:
    """Send a signal; returns the exit code and the lines on stderr."""
    assert command.process.pid is not None
    os.kill(command.process.pid, number)
    command.process.join(PATIENCE_S)
    assert command.process.exitcode is not None, "it has not ended"
    done = command.wait()
    return done.returncode, done.stderr.splitlines()


def wait_until(is_so: Callable[[], bool], command: Command) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert command.process.is_alive(), command.wait()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def said_by(command: Command) -> str:
    path = Path(command.said.name, "stderr")  # the command makes it
    return path.read_text(encoding="utf-8") if path.exists() else ""


def options(*overrides: str) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def test_a_terminated_bench_leaves_no_worker(project_folder: Path, tmp_path: Path, family: Family) -> None:
    here = tmp_path / "here"
    prepare = partial(halt_in_repeat, 0, here)
    command = family.start(project_folder, "bench", "-q", *options(*NOOP), prepare=prepare)
    wait_until_halted(command.process, here)
    found = family.find()
    assert len(found) == 1
    code, said = stop(command, signal.SIGTERM)
    assert (code, said[-1]) == (143, "terminated; finished work is kept: run the same command again to go on")
    assert find_survivors(found) == []
    assert family.find() == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_stopped_bench_leaves_no_fork_and_no_fork_server(
    project_folder: Path, family: Family, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    tests = str(Path(halted_worker.__file__).parent)  # where the server finds the worker
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [tests, *given])))
    words = ("bench", "-q", *options("benchmark.run.mode=force_new", "benchmark.runtimes=[{kind: torch}]"))
    command = family.start(project_folder, *words, prepare=halt_untimed)
    wait_until(lambda: any(project_folder.glob(f"results/work/**/{halted_worker.HERE}")), command)
    found = family.find()
    servers = [each for each in found if "bakeoff.run.machine.fork_server" in each.cmdline()]
    assert len(servers) >= 2  # the server, and its fork
    assert "sleep" in {each.name() for each in found}
    assert stop(command, number)[0] == code
    assert find_survivors(found) == []
    assert family.find() == []


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.slow
def test_a_stopped_sweep_leaves_no_training_and_nothing_that_it_started(
    tmp_path: Path,
    make_project: Callable[..., Path],
    family: Family,
    number: int,
    code: int,
) -> None:
    pretrained = tmp_path / "pretrained"
    pretrained.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (pretrained / name).write_text("{}")
    folder = make_project(
        tmp_path / "project", {"tiny": pretrained}, {"hpo": {"trainer": "stuck:Trainer"}}
    ).parent
    (folder / "stuck.py").write_text(STUCK)
    command = family.start(folder, "sweep", "-q")
    wait_until((folder / "trains").exists, command)
    found = family.find()
    assert {"sleep"} < {each.name() for each in found}
    assert stop(command, number)[0] == code
    assert find_survivors(found) == []
    assert family.find() == []


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_command_that_waits_for_the_machine_lock_can_be_stopped(
    project_folder: Path, family: Family, number: int, code: int
) -> None:
    with measuring(print):
        command = family.start(project_folder, "bench", "-q", *options(*NOOP, "benchmark.max_attempts=9"))
        wait_until(lambda: "waiting for the machine lock" in said_by(command), command)
        assert stop(command, number)[0] == code


@pytest.fixture
def deaf_store() -> Iterator[str]:
    """The URI of a server that takes connections and never answers."""
    with socket.create_server((HOST, 0), backlog=50) as server:
        yield f"http://{HOST}:{server.getsockname()[1]}"


def test_a_command_whose_store_never_answers_can_be_stopped(
    project_folder: Path, family: Family, deaf_store: str
) -> None:
    command = family.start(project_folder, "sync", *options(f"tracking.uri={deaf_store}"))
    connected: Any = lambda: any(  # noqa: E731
        each.raddr and each.raddr.port == int(deaf_store.rpartition(":")[2])
        for each in psutil.Process(command.process.pid).net_connections()
    )
    wait_until(connected, command)
    assert stop(command, signal.SIGTERM)[0] == 143
