"""However a worker process ends, it becomes a named outcome, and no process is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bakeoff.core.job import Environment, Hardware
from bakeoff.disk.sealed import seal_json
from bakeoff.errors import WorkerError
from bakeoff.measure.backends import Noop
from bakeoff.run.machine import forks, processes
from bakeoff.run.measuring.orders import (
    OUTCOME_FILE,
    Done,
    PendingOrder,
    PrepareOrder,
    environment_for,
    run_in_process,
    run_side_by_side,
)
from living import find_survivors, is_alive

RunAs = Callable[..., Done]

LATE = "no outcome after 1 s; set benchmark.timeout_s if it needs longer"

PATIENCE_S = 300.0
SOON_S = 1.0  # short enough to wait for: who hangs need not have come so far


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of an order; the processes that carry it out write their output there."""
    folder = tmp_path / "order"
    folder.mkdir()
    yield folder
    assert find_survivors(process for process in psutil.process_iter() if is_alive_in(process, folder)) == []


def is_alive_in(process: psutil.Process, folder: Path) -> bool:
    try:
        written = [each.path for each in process.open_files() if Path(each.path).is_relative_to(folder)]
        return bool(written) and is_alive(process)
    except psutil.Error:
        return False


def make_order(folder: Path, limit_bytes: int | None = None) -> PrepareOrder:
    return PrepareOrder(
        memory_limit_bytes=limit_bytes,
        runtime=Noop(),
        checkpoint=folder,
        checkpoint_digest="3" * 64,
        destination=folder / "out",
        max_length=32,
        documents=(),
    )


@pytest.fixture(scope="module", params=["fresh", "forked"])
def _start(request: pytest.FixtureRequest) -> Iterator[None]:
    """Orders run in fresh processes, or in forks of a server."""
    if request.param == "fresh":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forks, "CAN_FORK", False)
            yield
    else:
        with forks.keeping_servers():
            yield


@pytest.fixture
def run(folder: Path, _start: None, monkeypatch: pytest.MonkeyPatch) -> RunAs:
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    hardware = Hardware(machine="x86_64", cpu_model="Example CPU", physical_cores=1, usable_cpus=1)
    done = Done(environment=Environment(hardware=hardware, libraries={}))
    monkeypatch.setenv("BAKEOFF_WHOLE_OUTCOME", seal_json(done.model_dump(mode="json")).decode())

    def run_as(behaviour: str, timeout_s: float = PATIENCE_S, limit_bytes: int | None = None) -> Done:
        monkeypatch.setenv("BAKEOFF_MISBEHAVIOUR", behaviour)
        return run_in_process(make_order(folder, limit_bytes), folder, timeout_s, worker="misbehaving")

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


def test_a_worker_that_hangs_is_ended_after_its_time(run: RunAs) -> None:
    with pytest.raises(WorkerError) as caught:
        run("hang", SOON_S)
    assert caught.value.reason == LATE


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (
            "exhaust_memory",
            "; the limit is 1,000,000 bytes; set benchmark.memory_limit_bytes if it needs more",
        ),
        ("exit_by_number", "exit code 7 and no outcome"),
    ],
)
def test_a_worker_without_memory_is_named_with_its_limit(run: RunAs, behaviour: str, said: str) -> None:
    with pytest.raises(WorkerError) as caught:
        run(behaviour, limit_bytes=1_000_000)
    assert caught.value.reason.endswith(said)


@pytest.fixture
def _time_is_up_when_it_hangs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a busy machine takes to start it, whoever waits for a worker waits until it hangs."""

    def wait_until_it_hangs(*_: object) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while not (folder / "hangs").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return False

    monkeypatch.setattr(processes, "wait_readable", wait_until_it_hangs)


@pytest.mark.usefixtures("_time_is_up_when_it_hangs")
@pytest.mark.parametrize("behaviour", ["hang_deaf", "stop_itself"])
def test_a_worker_that_hangs_and_hears_no_signal_is_ended_too(run: RunAs, behaviour: str) -> None:
    with pytest.raises(WorkerError, match="no outcome after"):
        run(behaviour)


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


def test_what_a_worker_started_ends_with_it(run: RunAs, folder: Path) -> None:
    run("leave_grandchild")
    assert find_survivors([int((folder / "grandchild").read_text(encoding="utf-8"))]) == []


@pytest.mark.usefixtures("_time_is_up_when_it_hangs")
def test_what_a_worker_started_that_hangs_ends_with_it(run: RunAs, folder: Path) -> None:
    with pytest.raises(WorkerError, match="no outcome after"):
        run("hang_with_grandchild")
    assert find_survivors([int((folder / "grandchild").read_text(encoding="utf-8"))]) == []


def run_three(folder: Path, n_at_once: int, timeout_s: float) -> dict[int, Done | WorkerError]:
    outcomes: dict[int, Done | WorkerError] = {}

    def end(number: int, outcome: Done | WorkerError, wall_s: float) -> None:
        assert wall_s > 0
        outcomes[number] = outcome

    tasks = [PendingOrder(make_order(folder), folder / str(number), timeout_s) for number in range(3)]
    run_side_by_side(tasks, n_at_once, end, worker="misbehaving")
    return outcomes


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("n_at_once", [1, 2, 5])
def test_side_by_side_every_order_gets_its_outcome(
    folder: Path, monkeypatch: pytest.MonkeyPatch, n_at_once: int
) -> None:
    monkeypatch.setenv("BAKEOFF_MISBEHAVIOUR", "succeed")
    outcomes = run_three(folder, n_at_once, PATIENCE_S)
    assert {number: type(each) for number, each in outcomes.items()} == dict.fromkeys(range(3), Done)


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("behaviour", "timeout_s", "reason"),
    [("kill_itself", PATIENCE_S, "killed by SIGKILL"), ("hang", SOON_S, LATE)],
)
def test_side_by_side_every_bad_end_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, timeout_s: float, reason: str
) -> None:
    monkeypatch.setenv("BAKEOFF_MISBEHAVIOUR", behaviour)
    outcomes = run_three(folder, 3, timeout_s)
    assert sorted(outcomes) == [0, 1, 2]
    assert {each.reason for each in outcomes.values() if isinstance(each, WorkerError)} == {reason}


@pytest.mark.usefixtures("run")
def test_side_by_side_an_interrupt_leaves_no_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEOFF_MISBEHAVIOUR", "hang")

    def interrupt() -> None:
        raise KeyboardInterrupt

    tasks = [PendingOrder(make_order(folder), folder / str(number), PATIENCE_S) for number in range(3)]
    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(tasks, 2, lambda *_: None, interrupt, worker="misbehaving")
    assert not any(is_alive_in(each, folder) for each in psutil.process_iter())


def test_threads_sleep_while_they_wait_where_nothing_is_timed(folder: Path) -> None:
    assert environment_for(make_order(folder))["OMP_WAIT_POLICY"] == "PASSIVE"
