"""The faults of ``faults.py`` on neighbours: a result store of bakeoff, Optuna's journal, a suite of pyperf.

Each adds a result to what holds one already. It is killed before each of its calls, and before and in the
middle of each write; and the power fails after each call, in each state that POSIX lets a disk keep. A point
is torn when the reader then fails, finds neither the old nor the new state, or does not find what was written
although the call had returned. It is lost when the next writer cannot go on. pyperf takes part where it is
installed.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from rig import report
from rig.faults import Case, StoreAttempt, Tally, View, cut_power_everywhere, kill_everywhere

# Optuna takes the lock of a killed process after so long.
GRACE_S = 3


class OptunaJournal(Case):
    """A journal in a file: one trial more."""

    store, name = "Optuna's journal", "a finished trial"

    def lay_out(self, folder: Path) -> None:
        """Make a study with one trial."""
        self._open(folder).add_trial(_make_trial(1.0))

    def act(self, folder: Path) -> None:
        """Add a trial."""
        self._open(folder).add_trial(_make_trial(2.0))

    def look(self, folder: Path) -> View:
        """Read the values of all trials."""
        return View(frozenset(trial.value for trial in self._open(folder).trials))

    def _open(self, folder: Path) -> Any:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = str(folder / "journal.log")
        is_new = not Path(path).exists()
        lock = JournalFileSymlinkLock(path, grace_period=GRACE_S)
        storage = JournalStorage(JournalFileBackend(path, lock))
        open_study = optuna.create_study if is_new else optuna.load_study
        return open_study(study_name="neighbour", storage=storage)


def _make_trial(value: float) -> Any:
    import optuna

    return optuna.create_trial(value=value)


class PyperfSuite(Case):
    """A suite in a file: one run more, by the way that the library has for it."""

    store, name = "pyperf", "dump(replace=True)"

    def lay_out(self, folder: Path) -> None:
        """Make a suite with one run."""
        _make_benchmark(1.0).dump(str(folder / "suite.json"))

    def act(self, folder: Path) -> None:
        """Add a run."""
        import pyperf

        benchmark = pyperf.Benchmark.load(str(folder / "suite.json"))
        benchmark.add_runs(_make_benchmark(2.0))
        benchmark.dump(str(folder / "suite.json"), replace=True)

    def look(self, folder: Path) -> View:
        """Read all values."""
        import pyperf

        return View(frozenset(pyperf.Benchmark.load(str(folder / "suite.json")).get_values()))


def _make_benchmark(value: float) -> Any:
    import pyperf

    run = pyperf.Run([value], metadata={"name": "neighbour", "loops": 1}, collect_metadata=False)
    return pyperf.Benchmark([run])


def main() -> int:
    """Cut the writes of each short."""
    ours = StoreAttempt()
    cases: list[Case] = [ours, OptunaJournal()]
    if importlib.util.find_spec("pyperf") is not None:
        cases.append(PyperfSuite())
    folder = Path(tempfile.mkdtemp(prefix="neighbours-"))
    figures, of_ours = [], Tally()
    for case in cases:
        place = folder / type(case).__name__
        kills, cuts = kill_everywhere(case, place / "kills"), cut_power_everywhere(case, place / "cuts")
        print(f"{case.store}, {case.name}: kills {kills}; power cuts {cuts}", flush=True)
        for story in (*kills.stories[:1], *cuts.stories[:1]):
            print(f"  {story.strip().splitlines()[0][:200]}", flush=True)
        figures.append(
            f"{case.store} {kills.n_torn} of {kills.n_points} and {cuts.n_torn} of {cuts.n_points}"
        )
        of_ours = kills + cuts if case is ours else of_ours
    shutil.rmtree(folder)
    return report(
        "fault_neighbours",
        f"torn by kills and by power cuts: {', '.join(figures)}",
        "0 of bakeoff's",
        of_ours.holds,
    )


if __name__ == "__main__":
    sys.exit(main())
