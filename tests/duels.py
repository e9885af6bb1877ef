"""Two machines, played by two project folders with one store and a lock each."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from bakeoff.core.records import Measurement
from bakeoff.orchestrator import Project, bench, open_project
from bakeoff.orchestrator.checkpoints import find_champions
from bakeoff.orchestrator.plan import find_existing, plan_for
from bakeoff.run.machine.lock import LOCK_VARIABLE
from command_line import PRELOADED
from copies import STORE, copy_project

PROTOCOL = (
    "processes: 2, rounds: 2, block_s: 0.005, max_calls: 5, warmup_min_s: 0, warmup_max_s: 0.2, "
    "time_budget_s: 600"
)
N_KEYS = 3
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Work:
    """What there is to measure: candidates that compute nothing, in fresh processes as ever.

    Attributes:
        n_heats: How many heats.
        n_candidates: In each of them.
        claim_expiry_s: Silence after which a machine is taken for dead.
    """

    n_heats: int = N_KEYS
    n_candidates: int = 1
    claim_expiry_s: float = 60.0

    @property
    def overrides(self) -> tuple[str, ...]:
        """On the command line of its benches."""
        runtimes = (f"{{kind: noop, threads: {count + 1}}}" for count in range(self.n_candidates))
        scenarios = (f"{{kind: latency, batch_sizes: [{size + 1}]}}" for size in range(self.n_heats))
        return (
            f"benchmark.runtimes=[{', '.join(runtimes)}]",
            f"benchmark.scenarios=[{', '.join(scenarios)}]",
            f"benchmark.protocol={{{PROTOCOL}}}",
            "benchmark.accept_contended=true",
            f"tracking.claim_expiry_s={self.claim_expiry_s:g}",
        )


@dataclass(frozen=True)
class Machine:
    """A project folder, the store that it shares, the lock of the machine that it plays, and its work."""

    folder: Path
    store_uri: str
    lock: Path
    work: Work

    @property
    def overrides(self) -> Sequence[str]:
        """On the command line of its benches."""
        return (*self.work.overrides, f"tracking.uri={self.store_uri}")

    def open(self) -> Project:
        """Its project."""
        return open_project(self.folder / "config", self.overrides)

    def start(self) -> BaseProcess:
        """Start a bench in a process of its own."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        process = context.Process(target=_bench, args=(self,))
        process.start()
        return process


def _bench(machine: Machine) -> None:
    os.environ[LOCK_VARIABLE] = str(machine.lock)
    bench(machine.open())


def make_machines(template: Path, folder: Path, work: Work | None = None) -> list[Machine]:
    """Two copies of a project that share a copy of its store."""
    store_uri = f"sqlite:///{copy_project(template, folder / 'store', 'results')}/{STORE}"
    machines = []
    for name in ("a", "b"):
        copy = copy_project(template, folder / name, "results", "mlartifacts", f"{STORE}*")
        machines.append(Machine(copy, store_uri, folder / f"{name}.lock", work or Work()))
    return machines


def count_results(machines: Sequence[Machine]) -> tuple[int, int]:
    """How many keys have no result that counts, or none that a machine can read; how many count twice.

    Two machines that hold unlike results of a key have two that count.
    """
    n_lost = n_duplicates = 0
    held: dict[str, Measurement] = {}
    for machine in machines:
        project = machine.open()
        champions = find_champions(project)
        existing = find_existing(project, champions)
        counting = Counter(
            each.key for each in existing if each.state == "valid" and each.run_id and not each.on_disk
        )
        n_duplicates += sum(counting.values()) - len(counting)
        for planned in plan_for(project, champions).jobs:
            found = project.results.load_valid(planned.job, {planned.attempt})
            if found is None or not counting[planned.job.key]:
                n_lost += 1
            elif held.setdefault(planned.job.key, found) != found:
                n_duplicates += 1
    return n_lost, n_duplicates


def count_failures(processes: Sequence[BaseProcess]) -> int:
    """Wait for benches to end; how many did not end well."""
    for process in processes:
        process.join(PATIENCE_S)
    n_failures = sum(process.exitcode != 0 for process in processes)
    for process in processes:
        process.kill()
    return n_failures
