"""Two machines, played by two project folders with one store and a lock each; one of them is killed.

Used by the tests and by ``benchmarks/claims.py``.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from multiprocessing.process import BaseProcess
from pathlib import Path

from bakeoff.orchestrator import Project, bench, open_project
from bakeoff.orchestrator.acquisition import find_champions
from bakeoff.orchestrator.planning import find_existing, plan_for
from bakeoff.run.machine import LOCK_VARIABLE

PROTOCOL = (
    "processes: 2, rounds: 2, block_s: 0.005, max_calls: 5, warmup_min_s: 0, warmup_max_s: 0.2, "
    "time_budget_s: 600"
)
# Three heats of one candidate that computes nothing, in fresh processes as ever.
QUICK = (
    "benchmark.runtimes=[{kind: noop, threads: 1}]",
    f"benchmark.scenarios=[{', '.join(f'{{kind: latency, batch_sizes: [{size}]}}' for size in (1, 2, 3))}]",
    f"benchmark.protocol={{{PROTOCOL}}}",
    "benchmark.accept_contended=true",
    "tracking.claim_expiry_s=5",
)
N_KEYS = 3
PATIENCE_S = 300.0
LOOK_S = 0.005
# A bench may end before its moment comes.
MOST_DUELS_PER_KILL = 3


@dataclass(frozen=True)
class Tally:
    """What became of all duels.

    Attributes:
        n_lost: Keys without a result that counts, or results that a folder cannot read.
        n_duplicates: Results that count beside another one.
        n_failures: Benches that were not killed and did not end well.
    """

    n_kills: int
    n_lost: int
    n_duplicates: int
    n_failures: int

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def holds(self) -> bool:
        """Whether nothing was lost and nothing counts twice."""
        return self.n_lost == self.n_duplicates == self.n_failures == 0


@dataclass(frozen=True)
class Machine:
    """A project folder, the store that it shares, and the lock of the machine that it plays."""

    folder: Path
    store_uri: str
    lock: Path

    @property
    def overrides(self) -> Sequence[str]:
        """On the command line of its benches."""
        return (*QUICK, f"tracking.uri={self.store_uri}")

    def open(self) -> Project:
        """Its project."""
        return open_project(self.folder / "config", self.overrides)

    def start(self) -> BaseProcess:
        """Start a bench in a process of its own."""
        context = multiprocessing.get_context("forkserver")
        # What is imported once is not imported in every bench: most of its time is measured then.
        context.set_forkserver_preload(["mlflow", "sqlalchemy", "bakeoff.orchestrator", "duels"])
        process = context.Process(target=_bench, args=(self,))
        process.start()
        return process


def _bench(machine: Machine) -> None:
    os.environ[LOCK_VARIABLE] = str(machine.lock)
    bench(machine.open())


def kill_benches(template: Path, folder: Path, n_kills: int, seed: int) -> Tally:
    """Let two machines share the work of a project, kill one at a random moment, let both end, and count.

    Args:
        template: A project with a champion in ``mlflow.db`` and nothing of ``QUICK`` measured.
        folder: For the copies.
        n_kills: How often.
        seed: Of the moments.
    """
    chance = random.Random(seed)
    total, _ = _fight(template, folder / "warm-up", chance, longest_s=None)
    # The first one paid for the imports of all.
    tally, longest_s = _fight(template, folder / "rehearsal", chance, longest_s=None)
    total, n_duels = total + tally, 0
    while total.n_kills < n_kills and n_duels < MOST_DUELS_PER_KILL * n_kills:
        tally, length_s = _fight(template, folder / f"duel-{n_duels}", chance, longest_s=longest_s)
        if not tally.n_kills:
            longest_s = min(longest_s, length_s)  # the machine became quicker since
        total, n_duels = total + tally, n_duels + 1
    return total


def _fight(
    template: Path, folder: Path, chance: random.Random, longest_s: float | None
) -> tuple[Tally, float]:
    """One duel; returns what became of it, and after how long the first of the two had ended."""
    machines = make_machines(template, folder)
    processes, begin_s = [machine.start() for machine in machines], time.monotonic()
    n_kills, moment_s = 0, math.inf if longest_s is None else chance.uniform(0, longest_s)
    victim = chance.choice(processes)
    while all(process.is_alive() for process in processes) and time.monotonic() - begin_s < moment_s:
        time.sleep(LOOK_S)
    length_s = time.monotonic() - begin_s
    if longest_s is not None and victim.is_alive():
        n_kills = 1
        victim.kill()
        victim.join()
        processes.remove(victim)
    n_failures = _count_failures(processes) + _count_failures([machine.start() for machine in machines])
    n_lost, n_duplicates = count_results(machines)
    if n_lost == n_duplicates == n_failures == 0:
        shutil.rmtree(folder)  # what went wrong stays to be looked at
    return Tally(n_kills, n_lost, n_duplicates, n_failures), length_s


def make_machines(template: Path, folder: Path, store_uri: str | None = None) -> list[Machine]:
    """Two copies of a project that share one store: a copy of its file, or one that is given."""
    if store_uri is None:
        folder.mkdir(parents=True)
        shutil.copyfile(template / "mlflow.db", folder / "mlflow.db")
        store_uri = f"sqlite:///{folder}/mlflow.db"
    machines = []
    for name in ("a", "b"):
        shutil.copytree(template, folder / name, ignore=shutil.ignore_patterns("mlflow.db*", "results"))
        machines.append(Machine(folder / name, store_uri, folder / f"{name}.lock"))
    return machines


def count_results(machines: Sequence[Machine]) -> tuple[int, int]:
    """How many keys have no result that counts, or none that a machine can read; how many count twice."""
    n_lost = n_duplicates = 0
    for machine in machines:
        project = machine.open()
        champions = find_champions(project)
        existing = find_existing(project, champions)
        counting = Counter(
            each.key for each in existing if each.state == "valid" and each.run_id and not each.on_disk
        )
        n_duplicates += sum(counting.values()) - len(counting)
        for planned in plan_for(project, champions).jobs:
            is_readable = project.results.load_valid(planned.job, {planned.attempt}) is not None
            n_lost += not (counting[planned.job.key] and is_readable)
    return n_lost, n_duplicates


def _count_failures(processes: Sequence[BaseProcess]) -> int:
    for process in processes:
        process.join(PATIENCE_S)
    n_failures = sum(process.exitcode != 0 for process in processes)
    for process in processes:
        process.kill()
    return n_failures
