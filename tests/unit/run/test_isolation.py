"""However a worker process ends, it becomes a named outcome, and no process is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bakeoff.errors import WorkerError
from bakeoff.measure.backends import Noop
from bakeoff.run.isolation import OUTCOME_FILE, Done, PrepareOrder, run_in_fresh_process
from living import find_survivors, is_alive

RunAs = Callable[..., Done]

PATIENCE_S = 60.0
SOON_S = 4.0  # short enough to wait for: who hangs need not have come so far
LATER_S = 12.0  # long enough to start an interpreter, and another one, on a busy machine


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of an order; its name is on the command line of the processes that carry it out."""
    folder = tmp_path / "order"
    folder.mkdir()
    yield folder
    assert find_survivors(process for process in psutil.process_iter() if is_alive_in(process, folder)) == []


def is_alive_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in process.cmdline() and is_alive(process)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunAs:
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))

    def run_as(behaviour: str, timeout_s: float = PATIENCE_S) -> Done:
        monkeypatch.setenv("MISBEHAVIOUR", behaviour)
        order = PrepareOrder(
            runtime=Noop(),
            checkpoint=folder,
            checkpoint_digest="3" * 64,
            destination=folder / "out",
            texts=(),
        )
        return run_in_fresh_process(order, folder, timeout_s, worker="misbehaving")

    return run_as


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("segfault", "killed by SIGSEGV"),
        ("kill_itself", "killed by SIGKILL"),
        ("exhaust_memory", "exit code 1 and no outcome"),
        ("say_nothing", "exit code 0 and no outcome"),
        ("write_half", "exit code 0 and a broken outcome"),
        ("exit_by_number", "exit code 7 and no outcome"),
    ],
)
def test_a_worker_that_ends_without_a_whole_outcome_is_named_by_how_it_ended(
    run: RunAs, behaviour: str, reason: str
) -> None:
    with pytest.raises(WorkerError) as caught:
        run(behaviour)
    assert caught.value.reason == reason


@pytest.mark.parametrize("behaviour", ["hang", "hang_deaf", "stop_itself"])
def test_a_worker_that_hangs_is_ended_even_if_it_hears_no_signal(run: RunAs, behaviour: str) -> None:
    with pytest.raises(WorkerError, match=r"no outcome after 4 s"):
        run(behaviour, SOON_S)


def test_the_last_words_on_stderr_are_kept(run: RunAs) -> None:
    with pytest.raises(WorkerError) as caught:
        run("exhaust_memory")
    assert caught.value.detail.splitlines()[-1] == "MemoryError"


def test_noise_on_the_streams_does_not_disturb_the_outcome(run: RunAs) -> None:
    assert run("be_noisy").readings == ()


def test_an_outcome_that_an_earlier_process_left_is_not_taken_for_that_of_this_one(
    run: RunAs, folder: Path
) -> None:
    assert run("succeed").kind == "done"
    assert (folder / OUTCOME_FILE).exists()
    with pytest.raises(WorkerError, match="exit code 0 and no outcome"):
        run("say_nothing")


@pytest.mark.parametrize("behaviour", ["leave_grandchild", "hang_with_grandchild"])
def test_what_a_worker_started_ends_with_it(run: RunAs, folder: Path, behaviour: str) -> None:
    if behaviour == "leave_grandchild":
        run(behaviour)
    else:
        with pytest.raises(WorkerError, match="no outcome after"):
            run(behaviour, LATER_S)
    assert find_survivors([int((folder / "grandchild").read_text(encoding="utf-8"))]) == []
