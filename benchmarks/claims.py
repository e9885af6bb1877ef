"""Exactly once: processes that race for the same keys, and benches that are killed while they share work.

``claims.py`` races on SQLite and PostgreSQL and kills for about a minute. The bar is ``--kills 1000``, which
takes about half an hour of a machine with two cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rig import report
from rig.claimants import Services, contend, kill_benches

PROCESSES, KEYS = 16, 200
MAX_P50_MS = 200.0


@dataclass(frozen=True)
class Race:
    """What became of a race."""

    store: str
    n_accepted: int
    n_duplicates: int
    n_errors: int
    p50_ms: float
    p95_ms: float

    @property
    def holds(self) -> bool:
        """Whether every key was measured and accepted once, and claims were quick."""
        clean = (self.n_accepted, self.n_duplicates, self.n_errors) == (KEYS, 0, 0)
        return clean and self.p50_ms <= MAX_P50_MS


def main() -> int:
    """Race on each store, then kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="benches to kill [30]")
    parser.add_argument("--seed", type=int, default=0, help="of the first storm [0]")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="claims-"))
    with Services(folder) as services:
        races = []
        for store, uri in services.stores().items():
            each = race(store, uri)
            print(
                f"{each.store}: {PROCESSES} processes, {KEYS} keys: {each.n_accepted} accepted, "
                f"{each.n_duplicates} duplicates, {each.n_errors} errors; claim p50 {each.p50_ms:.0f} ms, "
                f"p95 {each.p95_ms:.0f} ms",
                flush=True,
            )
            races.append(each)
        tally = kill_benches(folder, chosen.kills, chosen.seed)
    print(f"kill -9: {tally}")
    if tally.holds:
        shutil.rmtree(folder)
    else:
        print(f"the storms that went wrong are kept in {folder}")
    slowest = max(each.p50_ms for each in races)
    return report(
        "claims",
        f"{min(each.n_accepted for each in races)} of {KEYS} accepted once on {len(races)} stores, claim p50 "
        f"{slowest:.0f} ms; {tally.n_kills} kills, {tally.n_lost} lost, {tally.n_duplicates} duplicates",
        f"{KEYS}, {MAX_P50_MS:.0f} ms, 0 lost, 0 duplicates",
        all(each.holds for each in races) and tally.holds,
    )


def race(store: str, uri: str) -> Race:
    """Let processes claim, measure nothing, and publish, all the same keys in orders of their own."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=contend, args=(uri, number, KEYS, barrier, results))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    told = [results.get(timeout=1800) for _ in processes]
    for process in processes:
        process.join()
    published = Counter(key for each in told for key in each.published)
    waits_ms = np.array([wait for each in told for wait in each.claim_s]) * 1000
    return Race(
        store=store,
        n_accepted=len(published),
        n_duplicates=sum(published.values()) - len(published),
        n_errors=sum(each.n_errors for each in told),
        p50_ms=float(np.quantile(waits_ms, 0.5)),
        p95_ms=float(np.quantile(waits_ms, 0.95)),
    )


if __name__ == "__main__":
    sys.exit(main())
