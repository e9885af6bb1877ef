"""Whole heats of real candidates: what each sees, what it gets while others run, and what one's end costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from bakeoff.core.records import Champion, FailedAttempt
from bakeoff.measure.heats.assemble import assemble_readings
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.records import Block, BlockRequest, Finished, Heat, Started
from bakeoff.measure.heats.run import run_heat
from bakeoff.measure.statistics.readings import LATENCY, MAX_RATE, MEMORY, REFERENCE, Reading
from bakeoff.orchestrator import Project, bench, open_project
from bakeoff.orchestrator.bench import execute
from bakeoff.orchestrator.bench.prepare import make_order, prepare_job
from bakeoff.orchestrator.plan import find_existing, plan_for
from bakeoff.run.machine import processes
from bakeoff.run.measuring import resident
from bakeoff.run.measuring.orders import WORKER, Done, MeasureOrder, run_in_process
from bakeoff.run.measuring.resident import ResidentWorker
from copies import copy_project
from workers import MakeWorker

Reopen = Callable[..., Project]
FORCE_NEW = "benchmark.run.mode=force_new"
TORCH, ONNX = "torch-fp32", "onnxruntime-fp32"
PATIENCE_S = 300.0

PROTOCOL = TimingProtocol.model_validate(
    {"processes": 2, "rounds": 3, "block_s": 0.005, "warmup_min_s": 0.0, "warmup_max_s": 0.1}
)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SPINNING = """
def act(number):
    if number == 1:
        threading.Thread(target=spin, daemon=True).start()

def spin():
    while True:
        pass
"""


class Watched:
    """A candidate as it is; its CPU time over its blocks is added up, and that of a rival meanwhile."""

    def __init__(self, worker: ResidentWorker, rival: ResidentWorker) -> None:
        self._worker, self._rival = worker, rival
        self.name = worker.name
        self.cpu_s = self.rival_cpu_s = 0.0

    def begin(self, repeat: int) -> None:
        self._worker.begin(repeat)

    def wait_imported(self, longest_s: float) -> int | None:
        return self._worker.wait_imported(longest_s)

    def start(self, repeat: int) -> Started:
        return self._worker.start(repeat)

    def run_block(self, request: BlockRequest) -> Block:
        own_s, rival_s = _cpu_s(self._worker), _cpu_s(self._rival)
        block = self._worker.run_block(request)
        self.rival_cpu_s += _cpu_s(self._rival) - rival_s
        self.cpu_s += _cpu_s(self._worker) - own_s
        return block

    def finish(self) -> Finished:
        return self._worker.finish()

    def kill(self) -> None:
        self._worker.kill()


def _cpu_s(worker: ResidentWorker) -> float:
    assert worker._process is not None
    times = psutil.Process(worker._process.pid).cpu_times()
    return times.user + times.system


def candidates_of(project: Project, champion: Champion, folder: Path) -> list[ResidentWorker]:
    """The champion in the project's runtimes, as a bench would measure them."""
    made = []
    for number, planned in enumerate(plan_for(project, [champion]).jobs):
        if planned.job.scenario.kind == LATENCY:
            order = make_order(project, prepare_job(project, planned), 0)
            made.append(ResidentWorker(planned.job.runtime.label, order, folder / f"{number}", PATIENCE_S))
    return made


@pytest.fixture
def candidates(reopen: Reopen, champion: Champion, tmp_path: Path) -> Iterator[list[ResidentWorker]]:
    """The champion in ONNX Runtime with other settings each, which starts in a third of PyTorch's time."""
    runtimes = "{kind: onnxruntime, threads: 1}, {kind: onnxruntime, threads: 1, spinning: false}"
    project = reopen(FORCE_NEW, f"benchmark.runtimes=[{runtimes}]")
    made = candidates_of(project, champion, tmp_path)
    yield made
    for worker in made:
        worker.kill()


@dataclass
class WholeHeat:
    """A heat that was measured to its end, with all that was asked and how long it took."""

    workers: list[ResidentWorker]
    asked: list[tuple[BlockRequest, Block]]
    heat: Heat
    whole_ns: int
    cpu: int
    we_are_where_we_were: bool


@pytest.fixture(scope="module")
def whole(shipped: Path, champion: Champion, tmp_path_factory: pytest.TempPathFactory) -> WholeHeat:
    """A heat of the champion in PyTorch and in ONNX Runtime on one CPU."""
    folder = tmp_path_factory.mktemp("whole")
    before = psutil.Process().cpu_affinity()
    cpu = max(before)
    config = copy_project(shipped, folder / "project") / "config"
    project = open_project(config, [FORCE_NEW, f"benchmark.cpus=[{cpu}]"])
    workers = candidates_of(project, champion, folder)
    run_block = ResidentWorker.run_block
    asked: list[tuple[BlockRequest, Block]] = []

    def noted(self: ResidentWorker, request: BlockRequest) -> Block:
        block = run_block(self, request)
        asked.append((request, block))
        return block

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResidentWorker, "run_block", noted)
        begin_ns = time.monotonic_ns()
        heat = measure(*workers)
        whole_ns = time.monotonic_ns() - begin_ns
    we_are_where_we_were = psutil.Process().cpu_affinity() == before
    return WholeHeat(workers, asked, heat, whole_ns, cpu, we_are_where_we_were)


def measure(*workers: ResidentWorker | Watched, rounds: int = PROTOCOL.rounds) -> Heat:
    return run_heat(workers, PROTOCOL.model_copy(update={"rounds": rounds}), now_s=time.monotonic)


def latencies_of(heat: Heat, worker: ResidentWorker) -> list[Reading]:
    return [row for row in assemble_readings(heat, worker.name) if row.quantity == LATENCY]


def processes_of(workers: Sequence[ResidentWorker]) -> list[psutil.Process]:
    return [psutil.Process(worker._process.pid) for worker in workers if worker._process is not None]


@pytest.mark.parametrize("freezes", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_rival_with_a_busy_thread_gets_no_cpu_while_others_are_measured(
    candidates: list[ResidentWorker],
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    freezes: bool,
) -> None:
    """And it would get a good part of one if it were not stopped: this can be seen to fail."""
    if not freezes:
        monkeypatch.setattr(processes, "freeze", lambda _: None)
    rival = make_worker(SPINNING)
    watched = [Watched(worker, rival) for worker in candidates]
    heat = measure(*watched, rival, rounds=20)
    assert not heat.failures
    cpu_s, rival_cpu_s = (sum(getattr(each, name) for each in watched) for name in ("cpu_s", "rival_cpu_s"))
    # Times of CPUs are told in ticks; how busy the machine is otherwise takes from both alike.
    assert rival_cpu_s <= 2 * TICK_S + 0.05 * cpu_s if freezes else rival_cpu_s > 0.2 * cpu_s


BREAKDOWNS = {
    "killed by SIGSEGV": "def act(number): os.kill(os.getpid(), 11) if is_armed() else None",
    "no answer after 5 s": "def act(number): time.sleep(600) if is_armed() else None",
}


@pytest.mark.parametrize(
    "reason",
    [
        pytest.param(reason, marks=[pytest.mark.slow] if reason.startswith("no answer") else [])
        for reason in BREAKDOWNS
    ],
)
def test_a_candidate_that_breaks_down_is_named_and_the_others_finish(
    *,
    candidates: list[ResidentWorker],
    make_worker: MakeWorker,
    arm: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    quiet_machine: None,
    reason: str,
) -> None:
    others, broken = candidates, make_worker(BREAKDOWNS[reason])
    run_block = ResidentWorker.run_block

    def broken_in_the_second_repeat(self: ResidentWorker, request: BlockRequest) -> Block:
        if self is not broken or len(self.environments) == 1:
            return run_block(self, request)
        arm()
        with monkeypatch.context() as shorter:
            shorter.setattr(resident, "MIN_BLOCK_TIMEOUT_S", 5.0)
            return run_block(self, request)

    monkeypatch.setattr(ResidentWorker, "run_block", broken_in_the_second_repeat)
    heat = measure(*others, broken)
    assert {name: failure.reason for name, failure in heat.failures.items()} == {broken.name: reason}
    assert [[part.name for part in each.parts] for each in heat.repeats] == [
        sorted([*(other.name for other in others), broken.name]),
        sorted(other.name for other in others),
    ]
    for other in others:
        latency = next(row for row in assemble_readings(heat, other.name) if row.quantity == LATENCY)
        assert set(latency.repeats) == {0, 1}
    assert not processes_of([*others, broken])


@pytest.mark.slow
def test_what_a_candidate_read_before_it_broke_down_is_kept_and_decides_nothing(
    *,
    reopen: Reopen,
    champion: Champion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quiet_machine: None,
) -> None:
    project = reopen(
        "benchmark.runtimes=[{kind: onnxruntime, threads: 1}, {kind: noop, threads: 1}]",
        "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]",
    )
    run_block = ResidentWorker.run_block

    def killed_in_the_second_repeat(self: ResidentWorker, request: BlockRequest) -> Block:
        if self._order.runtime.kind == "noop" and len(self.environments) > 1:
            (process,) = processes_of([self])
            process.kill()
        return run_block(self, request)

    monkeypatch.setattr(ResidentWorker, "run_block", killed_in_the_second_repeat)
    result = bench(project)
    (failed,), (measured,) = result.failed, result.measured
    assert (failed.job.runtime.kind, failed.reason) == ("noop", "killed by SIGKILL")
    latency = measured.reading(LATENCY, batch_size=1)
    assert latency is not None
    assert {*latency.repeats} == {0, 1}

    kept = project.results.load(failed.job.key, failed.attempt)
    assert isinstance(kept, FailedAttempt)
    assert kept.readings == failed.readings
    quantities = {row.quantity: row for row in kept.readings}
    assert {LATENCY, REFERENCE, MEMORY + "_run"} <= quantities.keys()
    assert {*quantities[LATENCY].repeats} == {0}
    assert len(quantities[LATENCY].values) > 0

    (planned,) = (each for each in plan_for(project, [champion]).jobs if each.job.key == failed.job.key)
    assert (planned.action, planned.attempt) == ("measure", 2)
    assert project.results.load_valid(failed.job) is None
    assert project.results.load_contended(failed.job, {1}) is None
    existing = find_existing(project, [champion])
    (run_id,) = {each.run_id for each in existing if each.key == failed.job.key and each.run_id}
    sent = project.tracker.download(run_id, "benchmark", tmp_path)
    assert {path.name for path in sent.iterdir()} == {"001.json", "001.npz"}


def test_so_is_what_a_job_read_that_is_measured_alone(
    reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = reopen(
        "benchmark.runtimes=[{kind: noop, threads: 1}]",
        "benchmark.scenarios=[{kind: server, limit_ms: 500, n_queries: 473}]",
    )

    def second_ends_without_outcome(order: MeasureOrder, folder: Path, timeout_s: float, **more: Any) -> Done:
        module = WORKER if order.repeat == 0 else "this"
        return run_in_process(order, folder, timeout_s, module, **more)

    monkeypatch.setattr(execute, "run_in_process", second_ends_without_outcome)
    result = bench(project)
    (failed,) = result.failed
    assert result.measured == ()
    kept = project.results.load(failed.job.key, 1)
    assert isinstance(kept, FailedAttempt)
    assert {*next(row for row in kept.readings if row.quantity == MAX_RATE).repeats} == {0}


def test_nobody_is_left_when_the_user_interrupts(
    candidates: list[ResidentWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    family: list[psutil.Process] = []
    run_block = ResidentWorker.run_block

    def interrupted(self: ResidentWorker, request: BlockRequest) -> Block:
        run_block(self, request)
        family.extend(processes_of(candidates))
        raise KeyboardInterrupt

    monkeypatch.setattr(ResidentWorker, "run_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(*candidates)
    assert len(family) == len(candidates)
    assert not any(member.is_running() for member in family)


@pytest.mark.slow
def test_in_a_whole_heat_time_goes_forward_and_every_sample_that_was_asked_for_is_there(
    whole: WholeHeat,
) -> None:
    for request, block in whole.asked:
        assert (block.variant, block.first_input) == (request.variant, request.first_input)
        assert len(block.wall_ns) == len(block.cpu_ns) == request.samples
        assert min(block.wall_ns) > 0
    parts = [part for repeat in whole.heat.repeats for part in repeat.parts]
    assert sum(len(part.blocks) for part in parts) == len(whole.asked) >= 2 * 2 * 2 * PROTOCOL.rounds
    for part in parts:
        places = [(block.round, block.position) for block in part.blocks]
        assert places == sorted(places)
        # A block begins with its untimed call, after the last sample of the one before.
        end_ns = 0
        for block in part.blocks:
            assert block.run_in_ns > 0
            assert block.start_ns - block.run_in_ns >= end_ns
            end_ns = block.start_ns + sum(block.wall_ns) * block.calls_per_sample
        assert end_ns <= whole.whole_ns
    for worker in whole.workers:
        for latency in latencies_of(whole.heat, worker):
            taken = list(zip(latency.repeats, latency.columns["block_start_ns"], strict=True))
            assert taken == sorted(taken)
            # Each block of a process has a begin of its own, and the samples of a block share it.
            assert len(set(taken)) == len({*zip(latency.repeats, latency.columns["round"], strict=True)})


def test_every_candidate_has_the_threads_and_cpus_that_were_asked_for(whole: WholeHeat) -> None:
    for worker in whole.workers:
        for repeat in (0, 1):
            environment = worker.environments[repeat]
            variables = dict(pair.split("=") for pair in environment.facts["thread_variables"].split())
            assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == "1"
            assert environment.facts["affinity"] == str(whole.cpu)
            assert environment.hardware.usable_cpus == 1
    facts = {part.name: part.started.facts for part in whole.heat.repeats[0].parts}
    assert {name: told["threads"] for name, told in facts.items()} == {TORCH: "1", ONNX: "1"}
    assert whole.we_are_where_we_were


def test_all_candidates_are_asked_the_same_texts_in_a_repeat_and_in_another_order_in_the_next(
    whole: WholeHeat,
) -> None:
    orders = {
        (repeat.number, part.name): next(
            warm_up.n_tokens for warm_up in part.started.warm_ups if warm_up.variant == 1
        )
        for repeat in whole.heat.repeats
        for part in repeat.parts
    }
    for number in (0, 1):
        assert orders[number, TORCH] == orders[number, ONNX]
    assert orders[0, TORCH] != orders[1, TORCH]
    assert sorted(orders[0, TORCH]) == sorted(orders[1, TORCH])
    for worker in whole.workers:
        for latency in latencies_of(whole.heat, worker):
            columns = latency.columns
            padded, bare = columns["n_padded_tokens"], columns["n_tokens"]
            assert all(p >= n for p, n in zip(padded, bare, strict=True))
            # One text is padded to itself; of two of unlike length something must be padding.
            assert (padded == bare) == (latency.at["batch_size"] == 1)
