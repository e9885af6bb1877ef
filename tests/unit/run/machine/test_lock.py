"""The lock of a machine: one holder, given back by the kernel, and the same machine for all who share it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bakeoff.disk.holder import Holder, find_holder
from bakeoff.errors import StorageError
from bakeoff.run.machine import lock as machine_lock
from bakeoff.run.machine.lock import (
    LOCK_VARIABLE,
    describe_wait,
    identify_machine,
    lock_path,
    measuring,
)

HOLD = """
from bakeoff.run.machine.lock import measuring
with measuring(print):
    print("held", flush=True)
    input()
"""

# The command line as it is, around a command that does nothing but wait.
WAIT = """
import importlib
main = importlib.import_module("bakeoff.cli.main")
from bakeoff.orchestrator.progress import warn
from bakeoff.run.machine.lock import measuring
def wait(**_):
    with measuring(warn):
        pass
main.cli.main = wait
main.main()
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "locks" / "machine.lock"
    monkeypatch.setenv(LOCK_VARIABLE, str(path))
    return path


def hold_elsewhere() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.usefixtures("lock")
def test_whoever_waits_reads_who_holds_it_and_goes_on_when_that_is_killed() -> None:
    holder = hold_elsewhere()
    told: list[str] = []

    def kill(line: str) -> None:
        told.append(line)
        threading.Timer(0.2, holder.kill).start()

    with measuring(kill):
        (line,) = told
        assert holder.wait(10) != 0
    start = f"waiting for the machine lock: pid {holder.pid} (`python -c`) has held it since "
    assert re.fullmatch(re.escape(start) + r"\d\d:\d\d:\d\d \(\d+ s\)", line)


@pytest.mark.usefixtures("lock")
def test_whoever_waits_long_reads_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_lock, "TELL_S", 0.05)
    holder = hold_elsewhere()
    told: list[str] = []

    def kill_at_the_third(line: str) -> None:
        told.append(line)
        if len(told) == 3:
            holder.kill()

    with measuring(kill_at_the_third):
        assert len(told) >= 3
    holder.wait()


def test_what_a_killed_holder_left_is_not_believed(lock: Path) -> None:
    holder = hold_elsewhere()
    assert find_holder(lock) is not None
    holder.kill()
    holder.wait()
    assert find_holder(lock) is None


def test_a_number_that_a_later_process_got_names_no_holder(lock: Path) -> None:
    lock.parent.mkdir()
    lock.write_text(Holder(pid=os.getpid(), command="bakeoff bench", since_s=1000.0).model_dump_json())
    assert find_holder(lock) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\x00",
        b"{",
        b"[]",
        b"4711",
        b'{"pid": -1}',
        b'{"pid": 1e400, "command": "", "since_s": 1}',
        b'{"pid": 99999999999999999999, "command": "", "since_s": 1}',
        b"x" * 100_000,
    ],
)
def test_whatever_stands_in_the_lock_file_it_can_be_held(lock: Path, text: bytes) -> None:
    lock.parent.mkdir()
    lock.write_bytes(text)
    assert describe_wait(lock) == f"waiting for the machine lock: another command holds {lock}"
    with measuring(print):
        found = find_holder(lock)
        assert found is not None
        assert found.pid == os.getpid()
    assert lock.read_bytes() == b""


def test_a_command_is_shown_without_what_a_terminal_would_obey(lock: Path) -> None:
    with measuring(print):
        found = find_holder(lock)
        assert found is not None
        shown = found.model_copy(update={"command": "a\x1b[2J`b\n" + "c" * 200}).describe(
            found.since_s + 7260
        )
    assert shown.isprintable()
    assert f"(`a[2Jb{'c' * 75}`)" in shown
    assert shown.endswith("(2 h 1 min)")


@pytest.mark.usefixtures("lock")
def test_the_command_line_says_once_whom_it_waits_for() -> None:
    holder = hold_elsewhere()
    waiter = subprocess.Popen([sys.executable, "-c", WAIT], stderr=subprocess.PIPE, text=True)
    assert waiter.stderr is not None
    first = waiter.stderr.readline()
    holder.kill()
    holder.wait()
    assert first.startswith(f"warning: waiting for the machine lock: pid {holder.pid} (`python -c`)")
    assert waiter.stderr.read() == ""
    assert waiter.wait() == 0


def test_a_lock_file_that_was_removed_meanwhile_is_no_lock(lock: Path) -> None:
    holder = hold_elsewhere()

    def remove_and_end(_: str) -> None:
        lock.unlink()
        holder.kill()

    with measuring(remove_and_end):
        assert lock.exists()
        newcomer = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with pytest.raises(subprocess.TimeoutExpired):
            newcomer.wait(1.5)
    newcomer.kill()
    newcomer.wait()
    holder.wait()


def test_every_account_may_take_the_lock_whoever_made_it(lock: Path) -> None:
    before = os.umask(0o077)
    try:
        with measuring(print):
            pass
    finally:
        os.umask(before)
    assert lock.stat().st_mode & 0o444 == 0o444


def test_a_machine_is_the_same_for_all_who_share_the_lock_and_for_nobody_else(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with measuring(print):
        first = identify_machine()
    with measuring(print):
        assert identify_machine() == first
    assert " " not in first
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "other.lock"))
    with measuring(print):
        assert identify_machine() != first


def test_a_lock_that_cannot_be_made_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "file" / "machine.lock"))
    with pytest.raises(StorageError, match=r"machine\.lock"), measuring(print):
        pass


def test_without_being_told_otherwise_all_of_a_machine_share_one_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(LOCK_VARIABLE, raising=False)
    monkeypatch.setenv("TMPDIR", "/somewhere/of/this/job")
    assert lock_path() == Path("/tmp/bakeoff-machine.lock")
