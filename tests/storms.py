"""Two machines share the work of a project, and one or the other is killed until all of it is done.

Used by the tests and by ``benchmarks/claims.py``. The seed fixes who is killed when; what the two were doing
at that moment is up to the machine, and is told.
"""

from __future__ import annotations

import random
import shutil
import signal
import stat
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from bakeoff.run.measuring.orders import WORKER
from bakeoff.stores import tags
from bakeoff.stores.tracking.ledger_entries import Entries
from duels import Machine, Work, count_failures, count_results, make_machines

# Heats of two candidates: so few that one machine soon waits for the other, or so many that a storm lasts.
HEATS, N_CANDIDATES = (1, 4, 12), 2
# So little patience with the silent that the living may be taken for dead.
CLAIM_EXPIRY_S = 1.0
# A bench is killed at any moment up to the first of these, or, no less often, shortly after it wrote one of
# these files, for which is waited at most so long.
LONGEST_S, SHORTLY_S, PATIENCE_S = 1.5, 0.06, 3.0
TRACES = ("jobs/*/*.npz", "jobs/*/*.json", "jobs/*/*.logged", "champions/*/*.json")
AIMED_SHARE = 0.5
# Whoever is killed begins again at once; or, once in as many times as there are heats, after an absence in
# which the other may have taken over what was begun.
LONGEST_ABSENCE_S = 8.0
LOOK_S = 0.005


@dataclass(frozen=True)
class Tally:
    """What became of storms.

    Attributes:
        kills: How many benches were killed, by what they were doing.
        n_lost: Keys without a result that counts, or results that a folder cannot read.
        n_duplicates: Results that count beside another one.
        n_failures: Benches that were not killed and did not end well.
        n_orphans: Processes of theirs that outlived them.
        n_superseded: Results that came when another one counted already, and do not count.
    """

    kills: Counter[str] = field(default_factory=Counter)
    n_lost: int = 0
    n_duplicates: int = 0
    n_failures: int = 0
    n_orphans: int = 0
    n_superseded: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def __str__(self) -> str:
        """All counts in one line."""
        phases = ", ".join(f"{count} {phase}" for phase, count in self.kills.most_common())
        return (
            f"{self.n_kills} kills ({phases}), {self.n_lost} lost, {self.n_duplicates} duplicates, "
            f"{self.n_failures} failures, {self.n_orphans} orphans, {self.n_superseded} results came late"
        )

    @property
    def n_kills(self) -> int:
        """How many benches were killed."""
        return self.kills.total()

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, nothing counts twice, and whoever was not killed ended well and alone."""
        return self.n_lost == self.n_duplicates == self.n_failures == self.n_orphans == 0


def kill_benches(
    template: Path, folder: Path, n_kills: int, seed: int, tell: Callable[[str], None] = print
) -> Tally:
    """Kill benches that share their work, storm after storm, and count what is left.

    Args:
        template: A project with a champion in ``mlflow.db``, and no noop measured.
        folder: For the copies; those of a storm in which something went wrong stay.
        n_kills: How often.
        seed: Of the first storm; each further one has the next, so that it can be repeated alone.
        tell: Hears of every storm.
    """
    total = Tally()
    while total.n_kills < n_kills:
        place = folder / f"storm-{seed}"
        chance = random.Random(seed)
        work = Work(chance.choice(HEATS), N_CANDIDATES, CLAIM_EXPIRY_S)
        machines = make_machines(template, place, work=work)
        tally = _Storm(machines, chance, n_kills - total.n_kills).run()
        n_superseded = sum(1 for _ in place.glob("*/results/jobs/*/superseded/*.json"))
        tally += Tally(n_orphans=_end_orphans(place), n_superseded=n_superseded)
        tell(f"storm of seed {seed}: {tally}")
        if tally.holds:
            shutil.rmtree(place)
        total, seed = total + tally, seed + 1
        if tally.n_failures and not tally.n_kills:
            break  # they cannot begin
    return total


class _Storm:
    def __init__(self, machines: Sequence[Machine], chance: random.Random, most_kills: int) -> None:
        self._machines = machines
        self._chance = chance
        self._most_kills = most_kills
        self._running: dict[Machine, BaseProcess] = {}
        self._back_s = dict.fromkeys(machines, 0.0)
        self._kills: Counter[str] = Counter()

    def run(self) -> Tally:
        """Kill until one bench ends by itself; let both end, and both find nothing left to do."""
        self._revive()
        while self._kills.total() < self._most_kills and not self._is_over:
            machine = self._wait_for_victim()
            process = self._running[machine]
            process.kill()
            process.join()
            if process.exitcode != -signal.SIGKILL:  # it had ended by itself
                break
            del self._running[machine]
            self._kills[_tell_phase(machine, process.pid)] += 1
            lot, absence_s = self._chance.random(), self._chance.uniform(0, LONGEST_ABSENCE_S)
            self._back_s[machine] = time.monotonic()
            if lot < 1 / machine.work.n_heats:
                self._back_s[machine] += absence_s
            self._revive(at_least_one=True)
        self._back_s = dict.fromkeys(self._machines, 0.0)
        self._revive()
        n_failures = count_failures([*self._running.values()])
        n_failures += count_failures([machine.start() for machine in self._machines])
        n_lost, n_duplicates = count_results(self._machines)
        return Tally(self._kills, n_lost, n_duplicates, n_failures)

    @property
    def _is_over(self) -> bool:
        return any(process.exitcode is not None for process in self._running.values())

    def _revive(self, *, at_least_one: bool = False) -> None:
        """Start whoever's time has come."""
        for machine in sorted(self._machines, key=lambda each: self._back_s[each]):
            is_alone = at_least_one and not self._running
            if machine not in self._running and (is_alone or time.monotonic() >= self._back_s[machine]):
                self._running[machine] = machine.start()

    def _wait_for_victim(self) -> Machine:
        """Wait for any moment of a bench, or for one shortly after somebody's file appeared."""
        victim = self._chance.choice([each for each in self._machines if each in self._running])
        anywhen_s, shortly_s = self._chance.uniform(0, LONGEST_S), self._chance.uniform(0, SHORTLY_S)
        trace = self._chance.choice(TRACES) if self._chance.random() < AIMED_SHARE else None
        before = {machine: _list_files(machine, trace) for machine in self._machines}
        until_s = time.monotonic() + (PATIENCE_S if trace else anywhen_s)
        while time.monotonic() < until_s and not self._is_over:
            time.sleep(LOOK_S)
            self._revive()
            wrote = [each for each in self._running if trace and _list_files(each, trace) - before[each]]
            if wrote:
                victim, trace, until_s = wrote[0], None, time.monotonic() + shortly_s
        return victim


def _list_files(machine: Machine, pattern: str | None) -> set[tuple[Path, int]]:
    """Files and their inodes: one that is replaced is new."""
    found = set()
    for path in (machine.folder / "results").glob(pattern) if pattern else ():
        with suppress(FileNotFoundError):  # it is removed or moved while we look
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found.add((path, status.st_ino))
    return found


def _tell_phase(machine: Machine, pid: int | None) -> str:
    """What a bench was doing when it was killed, as ledger and folder tell."""
    project = machine.open()
    experiment_id = project.tracker.find_experiment(project.settings.tracking.benchmark_experiment)
    params: dict[str, str] = {}
    if experiment_id is not None:
        for run in project.tracker.search_runs(experiment_id, {tags.STAGE: tags.Stage.CLAIMS}):
            params |= run.data.params
    digests = {name.partition(".")[0] for name in params if ".claim" in name}
    entries = {digest: Entries.parse(params, digest) for digest in digests}
    ours = f" process {pid}"
    held = [digest for digest, found in entries.items() if (found.holder or "").endswith(ours)]
    if not held:
        was_there = any(owner.endswith(ours) for found in entries.values() for owner in found.claims.values())
        return "after a claim" if was_there else "before a claim"
    jobs = machine.folder / "results" / "jobs"
    if any(entries[digest].done for digest in held):
        return "published"
    if any(list((jobs / digest).glob("*.json")) for digest in held):
        return "logging"
    return "storing" if any((jobs / digest).is_dir() for digest in held) else "measuring"


def _end_orphans(folder: Path) -> int:
    """End the processes that were started for a folder, and say how many there were."""
    orphans = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()
        if WORKER in words and any(word.startswith(str(folder)) for word in words):
            orphans.append(process)
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                process.kill()
    return len(orphans)
