"""A link that someone planted where bakeoff writes: the file that it names keeps its content."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bakeoff.core.job import Job
from bakeoff.core.records import FailedAttempt
from bakeoff.disk import durable
from bakeoff.disk.folders import COMPLETE_MARKER, build_folder, find_whole, look_at
from bakeoff.disk.holder import find_holder
from bakeoff.errors import StorageError
from bakeoff.run.machine.lock import LOCK_VARIABLE, measuring
from bakeoff.run.machine.processes import STDERR_FILE, STDOUT_FILE, start_process
from bakeoff.stores.results.store import ResultStore
from bakeoff.stores.results.views import LoggedRun

CONTENT = "somebody's only copy\n"
pytestmark = pytest.mark.timeout(60)
Act = Callable[[Path], None]


def hold_lock(folder: Path) -> None:
    with durable.exclusive(folder / "lock"):
        pass


def hold_machine(folder: Path) -> None:
    os.environ[LOCK_VARIABLE] = str(folder / "machine.lock")
    with measuring(lambda _: None):
        pass


def write_file(folder: Path) -> None:
    durable.write_bytes(folder / "file", b"new")


def build(folder: Path) -> None:
    def fill(aside: Path) -> None:
        (aside / "x").write_text("x")

    build_folder(folder / "built", fill)


def remember(folder: Path) -> None:
    (folder / "looked").mkdir(exist_ok=True)
    look_at(folder / "looked", folder / "memo", rehash=False)


def start_worker(folder: Path) -> None:
    process = start_process("this", [], folder, {})
    process.wait()


PLACES = [
    (hold_lock, "lock"),
    (hold_lock, "lock.holder"),
    (hold_machine, "machine.lock"),
    (write_file, "file"),
    (build, ".built.lock"),
    (build, ".built.lock.holder"),
    (build, "built"),
    (remember, "memo"),
    (start_worker, STDOUT_FILE),
    (start_worker, STDERR_FILE),
]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text(CONTENT)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(LOCK_VARIABLE, "")
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize(("act", "name"), PLACES)
def test_a_planted_link_empties_no_file(
    folder: Path, victim: Path, act: Act, name: str, link: Callable[[Path, Path], None]
) -> None:
    link(folder / name, victim)
    with suppress(StorageError):  # refusing is right, too
        act(folder)
    assert victim.read_text() == CONTENT


@pytest.mark.parametrize(("act", "name"), PLACES)
def test_a_planted_link_makes_no_file_elsewhere(folder: Path, act: Act, name: str) -> None:
    target = folder.parent / "not there"
    (folder / name).symlink_to(target)
    with suppress(StorageError):
        act(folder)
    assert not target.exists()


@pytest.mark.parametrize(("act", "name"), PLACES)
def test_a_planted_fifo_blocks_nothing(folder: Path, act: Act, name: str) -> None:
    os.mkfifo(folder / name)
    with suppress(StorageError):
        act(folder)


def test_a_planted_marker_empties_no_file(folder: Path, victim: Path) -> None:
    build(folder)
    marker = folder / "built" / COMPLETE_MARKER
    marker.unlink()
    marker.symlink_to(victim)
    assert find_whole(folder / "built", rehash=False) is None
    build(folder)
    assert find_whole(folder / "built", rehash=True) is not None
    assert victim.read_text() == CONTENT


@pytest.mark.parametrize("suffix", [".json", ".npz", ".logged", ".forced"])
def test_planted_links_in_the_results_empty_no_file(
    folder: Path, victim: Path, suffix: str, make_job: Callable[..., Job]
) -> None:
    results = ResultStore(folder)
    failed = FailedAttempt(
        job=make_job(), attempt=1, failed_at="2026-01-01T00:00:00+00:00", reason="died", detail=""
    )
    place = folder / "jobs" / failed.job.key_digest / f"001{suffix}"
    place.parent.mkdir(parents=True)
    place.symlink_to(victim)
    results.store(failed, is_forced=True)
    results.mark_logged(failed, LoggedRun(store="s", experiment_id="1", run_id="r"))
    assert results.token
    assert victim.read_text() == CONTENT


def test_a_fifo_as_holder_is_no_holder(folder: Path) -> None:
    os.mkfifo(folder / "lock.holder")
    assert find_holder(folder / "lock.holder") is None
