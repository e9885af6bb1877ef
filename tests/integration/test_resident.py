"""Resident workers as real processes: what they see, how they are stopped, and how they end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bakeoff.errors import WorkerError
from bakeoff.measure.heats.records import BlockRequest
from bakeoff.run.machine import processes
from bakeoff.run.measuring import resident
from bakeoff.run.measuring.resident import ResidentWorker
from living import PATIENCE_S, find_survivors
from workers import MakeWorker

STOPPED = "T"


def request(samples: int = 5, calls: int = 1) -> BlockRequest:
    return BlockRequest(variant=1, samples=samples, calls_per_sample=calls, first_input=0)


def process_of(worker: ResidentWorker) -> psutil.Process:
    assert worker._process is not None
    return psutil.Process(worker._process.pid)


def states_of_threads(process: psutil.Process) -> list[str]:
    """As the kernel calls them, in one letter each."""
    folders = Path(f"/proc/{process.pid}/task").iterdir()
    return [(folder / "stat").read_text().rpartition(")")[2].split()[0] for folder in folders]


def wait_until_stopped(process: psutil.Process) -> None:
    """Wait for every thread: a busy machine lets them stop when it comes to it."""
    deadline = time.monotonic() + PATIENCE_S
    while set(states_of_threads(process)) != {STOPPED}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_runs_blocks_and_says_its_peak_of_memory_at_the_end(make_worker: MakeWorker) -> None:
    worker = make_worker()
    started = worker.start(0)
    assert started.overhead_ns
    assert started.calibration_ns
    assert len(started.tokenize_ns) == 8
    assert set(started.memory_bytes) == {"start", "imports", "load"}
    block = worker.run_block(request(samples=7))
    assert len(block.wall_ns) == 7
    process = process_of(worker)
    finished = worker.finish()
    assert finished.memory_bytes["run"] > 0
    assert not process.is_running()


def test_the_time_to_load_is_the_runtimes_own_without_what_we_check_first(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    worker = make_worker(
        """
        real_ns, ahead_ns = time.perf_counter_ns, 0
        time.perf_counter_ns = lambda: real_ns() + ahead_ns

        def pass_by(hours):
            global ahead_ns
            ahead_ns += hours * 3600 * 10**9

        worker.parity.verify = lambda prepared, checkpoint: pass_by(10)
        loaded = NoopSession.__init__
        NoopSession.__init__ = lambda self, n_labels: (pass_by(1), loaded(self, n_labels))[1]

        def act(number): pass
        """,
        prepared=tmp_path,
    )
    hours = worker.start(0).load_ns / (3600 * 10**9)
    assert 1 <= hours < 2


def test_between_blocks_a_worker_gets_no_cpu_however_busy_its_threads(make_worker: MakeWorker) -> None:
    worker = make_worker(
        """
        def act(number):
            if number == 1:
                threading.Thread(target=spin, daemon=True).start()

        def spin():
            while True:
                pass
        """
    )
    worker.start(0)
    process = process_of(worker)
    assert process.num_threads() > 1
    wait_until_stopped(process)
    before = process.cpu_times()
    time.sleep(0.5)
    assert process.cpu_times() == before
    assert set(states_of_threads(process)) == {STOPPED}
    assert worker.run_block(request()).cpu_ns


def test_threads_are_set_before_anything_is_imported(make_worker: MakeWorker) -> None:
    worker = make_worker(
        """
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED")
        seen = {name: os.environ.get(name) for name in names}

        def act(number):
            raise RuntimeError(repr(seen))
        """,
        threads=2,
    )
    with pytest.raises(
        WorkerError, match=r"'OMP_NUM_THREADS': '2', 'MKL_NUM_THREADS': '2', 'PYTHONHASHSEED': '4'"
    ):
        worker.start(4)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def act(number): os.kill(os.getpid(), 11) if is_armed() else None", "killed by SIGSEGV"),
        ("def act(number): os.kill(os.getpid(), 9) if is_armed() else None", "killed by SIGKILL"),
        ("def act(number): os._exit(0) if is_armed() else None", "exit code 0 and no outcome"),
        ("def act(number): bytearray(1 << 62) if is_armed() else None", "MemoryError"),
        ("def act(number): 1 / (0 if is_armed() else 1)", "ZeroDivisionError"),
    ],
)
def test_however_a_worker_ends_it_is_a_named_outcome_and_nothing_is_left(
    make_worker: MakeWorker, arm: Callable[[], None], body: str, reason: str
) -> None:
    worker = make_worker(body)
    worker.start(0)
    process = process_of(worker)
    arm()
    with pytest.raises(WorkerError, match=reason):
        worker.run_block(request())
    assert worker._process is None
    assert not process.is_running()


def test_a_worker_gets_no_more_memory_than_its_limit(make_worker: MakeWorker) -> None:
    body = """
    def act(number):
        if number == 1:
            held.append(bytearray(1 << 30))

    held = []
    """
    assert make_worker(body).start(0).memory_bytes
    with pytest.raises(WorkerError, match="MemoryError"):
        make_worker(body, memory_limit_bytes=1 << 29).start(0)


@pytest.mark.parametrize("deafness", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_a_worker_that_hangs_in_a_block_is_ended_with_its_children(
    make_worker: MakeWorker, arm: Callable[[], None], monkeypatch: pytest.MonkeyPatch, deafness: str
) -> None:
    monkeypatch.setattr(resident, "MIN_BLOCK_TIMEOUT_S", 1.0)
    worker = make_worker(
        f"""
        {deafness}
        import subprocess
        subprocess.Popen(["sleep", "600"])

        def act(number):
            if is_armed():
                time.sleep(600)
        """
    )
    worker.start(0)
    family = [process_of(worker), *process_of(worker).children()]
    assert len(family) == 2
    arm()
    with pytest.raises(WorkerError, match="no answer after"):
        worker.run_block(request())
    assert find_survivors(family) == []


@pytest.mark.parametrize(("samples", "calls"), [(5, 1), (50_000, 1), (50_000, 4)])
def test_a_block_may_take_twenty_times_what_its_calls_took_when_warm_and_half_a_minute_at_least(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch, samples: int, calls: int
) -> None:
    """Nobody waits: to the one who asks it is as if the time had passed without an answer."""
    worker = make_worker("def act(number): time.sleep(0.001)")
    median_ns = worker.start(0).warm_ups[0].median_ns
    monkeypatch.setattr(processes, "wait_readable", lambda *_: False)
    with pytest.raises(WorkerError) as caught:
        worker.run_block(request(samples=samples, calls=calls))
    # The call before the samples takes its time, too.
    twenty_times_s = 20 * median_ns * (samples * calls + 1) / 1e9
    assert (twenty_times_s > 30) == (samples > 5)
    assert caught.value.reason == f"no answer after {max(30.0, twenty_times_s):g} s"


def test_a_worker_that_does_not_come_up_is_ended_after_its_time(make_worker: MakeWorker) -> None:
    worker = make_worker("def act(number): time.sleep(600)", timeout_s=3.0)
    with pytest.raises(WorkerError, match="no answer after 3 s"):
        worker.start(0)


def test_what_libraries_print_is_never_taken_for_an_answer(make_worker: MakeWorker) -> None:
    worker = make_worker(
        """
        def act(number):
            print('{"kind": "ended", "finished": {}}', flush=True)
            os.write(2, b"\\xff noise \\n")
        """
    )
    worker.start(0)
    assert len(worker.run_block(request()).wall_ns) == 5
    assert worker.finish().memory_bytes


def test_memory_of_the_run_is_told_apart_from_loading(
    make_worker: MakeWorker, arm: Callable[[], None]
) -> None:
    body = """
    kept = []

    def act(number):
        if {when} and not kept:
            kept.append(bytearray(b"x") * (100 << 20))
    """
    quiet, hungry = make_worker(body.format(when="False")), make_worker(body.format(when="is_armed()"))
    peaks = []
    for worker in (quiet, hungry):
        started = worker.start(0)
        arm()
        worker.run_block(request())
        peaks.append((started.memory_bytes["load"], worker.finish().memory_bytes["run"]))
    assert abs(peaks[1][0] - peaks[0][0]) < 5 << 20
    assert abs(peaks[1][1] - peaks[0][1] - (100 << 20)) < 5 << 20


COUNTED = """
from functools import partial
from pathlib import Path
from bakeoff.measure.system import memory

POWERCAP = Path({folder!r})
COUNTER = POWERCAP / "intel-rapl:0" / "energy_uj"
memory.read_energy_uj = partial(memory.read_energy_uj, POWERCAP)

def act(number):
    if COUNTER.exists():
        COUNTER.write_text(str(int(COUNTER.read_text()) + 1000))
"""


def test_energy_is_what_the_counter_moved_over_the_blocks_and_not_between_them(
    make_worker: MakeWorker, tmp_path: Path
) -> None:
    """A counter that every call moves by 1000 µJ, and we move while the worker is stopped."""
    zone = tmp_path / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0")
    counter = zone / "energy_uj"
    counter.write_text("5000000")
    worker = make_worker(COUNTED.format(folder=str(zone.parent)))
    worker.start(0)
    for samples in (5, 3):
        counter.write_text(str(int(counter.read_text()) + 70_000))
        worker.run_block(request(samples=samples))
    counter.write_text(str(int(counter.read_text()) + 70_000))
    # The call before the samples is one of the block: its energy is in, and so are its documents.
    assert worker.finish().energy_uj == 1000 * (5 + 1 + 3 + 1)


def test_without_a_counter_energy_is_unknown_and_not_zero(make_worker: MakeWorker, tmp_path: Path) -> None:
    worker = make_worker(COUNTED.format(folder=str(tmp_path / "absent")))
    worker.start(0)
    worker.run_block(request())
    assert worker.finish().energy_uj is None


def test_of_a_counter_that_wrapped_around_nothing_is_told(make_worker: MakeWorker, tmp_path: Path) -> None:
    zone = tmp_path / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0")
    (zone / "energy_uj").write_text("0")
    wrapping = COUNTED.replace(
        "int(COUNTER.read_text()) + 1000", "(int(COUNTER.read_text()) + 1000) % 1_000_000"
    )
    worker = make_worker(wrapping.format(folder=str(zone.parent)))
    worker.start(0)
    worker.run_block(request(samples=5))
    (zone / "energy_uj").write_text("997000")  # three calls before its end
    worker.run_block(request(samples=5))
    worker.run_block(request(samples=5))
    assert worker.finish().energy_uj is None


def test_a_worker_dies_with_the_process_that_started_it(make_worker: MakeWorker, tmp_path: Path) -> None:
    worker = make_worker()
    started = tmp_path / "pid"
    pid = os.fork()
    if pid == 0:  # the child is the coordinator that is killed
        try:
            worker.start(0)
            assert worker._process is not None
            started.write_text(str(worker._process.pid))
            os.kill(os.getpid(), 9)
        finally:  # a failure here shall not go on as a second run of the tests
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    assert find_survivors([int(started.read_text())]) == []
