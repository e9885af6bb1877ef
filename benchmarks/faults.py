"""Nothing lost: writes that are cut short, servers that fail, and stored files of which bytes change.

Writes are killed and lose power at every call. Commands meet each kind of fault at each of their requests.

``faults.py`` takes each twentieth point. The bar is ``--every 1``, most of which waits for the heartbeats of
killed sweeps to expire.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rig import report
from rig.faults import (
    COMMANDS,
    IN_STORES,
    ON_DISK,
    Case,
    Command,
    Tally,
    count_silent,
    cut_power_everywhere,
    kill_everywhere,
    kill_twice,
    list_stored,
    lossy_lab,
    spoil_everywhere,
)

MIN_KILLS, MIN_CUTS, MIN_REQUESTS, MIN_DAMAGES = 1000, 300, 1000, 2000
# A fault at a request takes a second or two, a kill some milliseconds.
REQUESTS_RARER = 5
DAMAGES_OF_A_KIND = 500
POINTS_A_LINE = 100


def main() -> int:
    """Kill, cut the power, and damage files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=20, help="only each so many-th point [20]")
    parser.add_argument("--every-request", type=int, help="the same for faults at requests [5 times as rare]")
    parser.add_argument("--once", action="store_true", help="no faults at all later requests, too")
    parser.add_argument("--store", action="append", help="only this store or command; may be repeated")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    cases = [each for each in (*ON_DISK, *IN_STORES) if chosen.store is None or each.store in chosen.store]
    kills, cuts = defaultdict[str, Tally](Tally), defaultdict[str, Tally](Tally)
    for case in cases:
        kills[case.store] += kill_everywhere(case, folder / "kills" / case.name, every=chosen.every)
        if not case.needs_forks:
            kills[case.store] += kill_twice(case, folder / "twice" / case.name, every=4 * chosen.every)
            place = folder / "cuts" / case.name
            cuts[case.store] += cut_power_everywhere(case, place, most_at_a_point=6, every=chosen.every)
        _show(case, kills[case.store], cuts[case.store])
    for store, tally in kills.items():
        print(f"kills, {store}: {tally}")
    for store, tally in cuts.items():
        print(f"power cuts, {store}: {tally}")
    commands = [each for each in COMMANDS if chosen.store is None or each.name in chosen.store]
    rarely = chosen.every_request or (1 if chosen.every == 1 else REQUESTS_RARER * chosen.every)
    spoilt = Tally()
    if commands:
        spoilt = _spoil(commands, folder / "requests", rarely, is_once=chosen.once)
    (folder / "damages").mkdir()
    silent = {
        name: count_silent(stored, DAMAGES_OF_A_KIND, seed=16)
        for name, stored in list_stored(folder / "damages").items()
    }
    for name, n in silent.items():
        print(f"damages, {name}: {DAMAGES_OF_A_KIND} changes, {n} silent")
    shutil.rmtree(folder)
    killed, cut = sum(kills.values(), Tally()), sum(cuts.values(), Tally())
    n_damages, n_silent = DAMAGES_OF_A_KIND * len(silent), sum(silent.values())
    is_enough = chosen.every > 1 or chosen.store is not None or (
        killed.n_points >= MIN_KILLS and cut.n_points >= MIN_CUTS
        and spoilt.n_points >= MIN_REQUESTS and n_damages >= MIN_DAMAGES
    )  # fmt: skip
    return report(
        "faults",
        f"kills: {killed}; power cuts: {cut}; faults at requests: {spoilt}; "
        f"damaged files: {n_damages}, {n_silent} silent",
        f"{MIN_KILLS}, {MIN_CUTS}, {MIN_REQUESTS} and {MIN_DAMAGES} with 0 lost, doubled, torn or silent",
        is_enough and killed.holds and cut.holds and spoilt.holds and not n_silent,
    )


def _spoil(commands: Sequence[Command], folder: Path, every: int, *, is_once: bool) -> Tally:
    total = Tally()

    def tell(found: Tally, so_far: Tally) -> None:
        for story in found.stories:
            print(f"  {story}", flush=True)
        if so_far.n_points % POINTS_A_LINE == 0:
            print(f"  so far {so_far}", flush=True)

    with lossy_lab(folder) as lab:
        for command in commands:
            tally, kinds = spoil_everywhere(lab, command, every=every, is_once=is_once, tell=tell)
            print(f"faults at requests, {command.name}: {tally}, {len(kinds)} kinds", flush=True)
            total += tally
    return total


def _show(case: Case, kills: Tally, cuts: Tally) -> None:
    print(f"{case.store}, {case.name}: so far {kills.n_points} kills, {cuts.n_points} power cuts", flush=True)
    for story in (*kills.stories, *cuts.stories)[-3:]:
        print(f"  {story}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
