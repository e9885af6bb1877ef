"""The lock of a machine: one holder, given back by the kernel, and the same machine for all who share it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bakeoff.errors import StorageError
from bakeoff.run.machine import LOCK_VARIABLE, identify_machine, lock_path, measuring

HOLD = """
from bakeoff.run.machine import measuring
with measuring(lambda: None):
    print("held", flush=True)
    input()
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
def test_whoever_waits_is_told_once_and_goes_on_when_the_holder_is_killed() -> None:
    holder = hold_elsewhere()
    told: list[str] = []

    def kill() -> None:
        told.append("waits")
        threading.Timer(0.2, holder.kill).start()

    with measuring(kill):
        assert told == ["waits"]
        assert holder.wait(10) != 0


def test_a_lock_file_that_was_removed_meanwhile_is_no_lock(lock: Path) -> None:
    holder = hold_elsewhere()

    def remove_and_end() -> None:
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
        with measuring(lambda: None):
            pass
    finally:
        os.umask(before)
    assert lock.stat().st_mode & 0o444 == 0o444


def test_a_machine_is_the_same_for_all_who_share_the_lock_and_for_nobody_else(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with measuring(lambda: None):
        first = identify_machine()
    with measuring(lambda: None):
        assert identify_machine() == first
    assert " " not in first
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "other.lock"))
    with measuring(lambda: None):
        assert identify_machine() != first


def test_a_lock_that_cannot_be_made_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "file" / "machine.lock"))
    with pytest.raises(StorageError, match=r"machine\.lock"), measuring(lambda: None):
        pass


def test_without_being_told_otherwise_all_of_a_machine_share_one_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(LOCK_VARIABLE, raising=False)
    monkeypatch.setenv("TMPDIR", "/somewhere/of/this/job")
    assert lock_path() == Path("/tmp/bakeoff-machine.lock")
