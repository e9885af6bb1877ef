"""Simulated participants on a virtual clock: whole heats in milliseconds, with every cause known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bakeoff.errors import WorkerError
from bakeoff.measure.heats.protocol import Targets, TimingProtocol
from bakeoff.measure.heats.records import Block, BlockRequest, Finished, Started, WarmUp

N_INPUTS = 50
NO_TARGETS = Targets(p50=None, p95=None, p99=None, ratio=None)


def make_protocol(**changes: object) -> TimingProtocol:
    values: dict[str, object] = {
        "min_repeats": 3,
        "max_repeats": 3,
        "rounds": 4,
        "min_calls": 10,
        "max_calls": 10,
        "time_budget_s": 1000.0,
        "targets": NO_TARGETS,
    }
    return TimingProtocol.model_validate(values | changes)


@dataclass
class World:
    """A machine: its clock, its speed and its core-to-core latency over time, and who is running."""

    seed: int = 0
    core_to_core_ns: Callable[[float], int | None] = lambda _: None
    slowness: Callable[[float], float] = lambda _: 1.0
    now_ns: float = 0.0
    frozen: list[str] = field(default_factory=list)
    log: list[tuple[str, int, int]] = field(default_factory=list)
    importing: list[str] = field(default_factory=list)
    most_importing: int = 0

    def __post_init__(self) -> None:
        self.generator = np.random.default_rng(self.seed)

    def now_s(self) -> float:
        return self.now_ns / 1e9

    def probe(self) -> int | None:
        return self.core_to_core_ns(self.now_s())


@dataclass
class Simulated:
    """A participant whose calls take what it is told, plus what the world does to it.

    Attributes:
        call_ns: True time of a call.
        noise: Of a call, log-normal.
        process_effect: How processes differ, log-normal.
        stalls: Share of calls that take some 50 times as long, exponentially spread.
        is_disturbed: Whether the counters speak against a block, by repeat and number of the block.
        delay_share: Of every block, time in which it waited for a CPU.
        ticks: What the system counted in ticks over a block, by repeat and number of the block.
        fails_at: Block, by its number in the repeat, at which it dies; -1 means while starting, -2
            while importing.
    """

    world: World
    name: str
    call_ns: float = 1e6
    noise: float = 0.02
    process_effect: float = 0.0
    stalls: float = 0.0
    variants: Sequence[int] = (1,)
    is_disturbed: Callable[[int, int], bool] = lambda _repeat, _block: False
    fails_at: int | None = None
    delay_share: float = 0.0
    ticks: Callable[[int, int], Mapping[str, float]] = lambda _repeat, _block: {}
    late_blocks: int = 0
    imported_bytes: int = 0
    n_looks: int = 0
    resident_bytes: int = 0
    start_s: float = 1.0
    is_alive: bool = False
    n_blocks: int = 0
    repeat: int = -1
    effect: float = 1.0

    def begin(self, repeat: int) -> None:
        self.n_looks = 0
        self.world.importing.append(self.name)
        self.world.most_importing = max(self.world.most_importing, len(self.world.importing))

    def wait_imported(self, longest_s: float) -> int | None:
        self.n_looks += 1
        if self.n_looks == 1:
            return None
        self.world.importing.remove(self.name)
        if self.fails_at == -2:
            raise WorkerError("no module named torch")
        return self.imported_bytes

    def start(self, repeat: int) -> Started:
        assert not self.world.importing
        if self.n_looks == 0:  # never begun: alone
            self.begin(repeat)
            while self.wait_imported(0.0) is None:
                pass
        self.repeat, self.n_blocks, self.is_alive = repeat, 0, True
        self.world.now_ns += self.start_s * 1e9
        self.effect = math.exp(self.world.generator.normal(0, self.process_effect))
        if self.fails_at == -1:
            raise WorkerError("killed by SIGKILL")
        warm_ups = tuple(
            WarmUp(
                variant=variant,
                first_call_ns=int(3 * self.call_ns),
                warmup_ns=int(5e8),
                n_calls=100,
                median_ns=self.call_ns * variant * self.effect * self.world.slowness(self.world.now_s()),
                is_steady=True,
                n_tokens=tuple(range(1, N_INPUTS + 1)),
                n_padded_tokens=tuple(range(1, N_INPUTS + 1)),
                n_documents=variant,
            )
            for variant in self.variants
        )
        return Started(warm_ups=warm_ups, resident_bytes=self.resident_bytes)

    def run_block(self, request: BlockRequest) -> Block:
        assert self.is_alive
        if self.fails_at == self.n_blocks:
            self.is_alive = False
            raise WorkerError("killed by SIGSEGV")
        self.world.log.append((self.name, request.variant, request.first_input))
        generator = self.world.generator
        late = 1.4 if self.n_blocks < self.late_blocks else 1.0
        wall = []
        for _ in range(request.samples):
            slow = self.world.slowness(self.world.now_s())
            stall = 1.0 + 50.0 * generator.exponential() if generator.random() < self.stalls else 1.0
            duration = (
                self.call_ns * request.variant * self.effect * slow * stall * late
                * math.exp(generator.normal(0, self.noise))
            )  # fmt: skip
            wall.append(max(1, round(duration)))
            self.world.now_ns += duration * request.calls_per_sample
        disturbed = self.is_disturbed(self.repeat, self.n_blocks)
        ticks = self.ticks(self.repeat, self.n_blocks)
        block_ns = float(sum(wall) * request.calls_per_sample)
        self.n_blocks += 1
        return Block(
            variant=request.variant,
            calls_per_sample=request.calls_per_sample,
            first_input=request.first_input,
            start_ns=int(self.world.now_ns),
            wall_ns=tuple(wall),
            cpu_ns=tuple(wall),
            disturbances=("waited for a CPU 40.0% of the time (limit 10%)",) if disturbed else (),
            counters={"block_ns": block_ns, "run_delay_ns": self.delay_share * block_ns, **ticks},
        )

    def finish(self) -> Finished:
        assert self.is_alive
        self.is_alive = False
        return Finished(memory_bytes={"run": 123})

    def kill(self) -> None:
        self.is_alive = False
