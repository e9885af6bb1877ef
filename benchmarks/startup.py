"""How much CPU time starting takes: of ``import bakeoff`` and ``bakeoff --help``, next to Python alone.

Each round starts all three, in a new order, so that a busy machine disturbs them alike. The fastest start
of each counts, since disturbance only adds time; medians are printed too. CPU time is that of user and system
together.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys

from rig import report

N_ROUNDS = 15
MAX_IMPORT_S = 0.1
MAX_HELP_S = 0.35
# Bars that hold on a slow machine too: Python alone is slow there as well.
MAX_IMPORT_RATIO = 3.0
MAX_HELP_RATIO = 15.0
PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "import bakeoff": ["-c", "import bakeoff"],
    "bakeoff --help": ["-m", "bakeoff", "--help"],
}


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    n_rounds = parser.parse_args().rounds
    order, shuffler = list(PROGRAMS), random.Random(7)  # noqa: S311 - an order, not a secret
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for words in PROGRAMS.values():  # bytecode is written at the first start
        take_cpu_s(words)
    for _ in range(n_rounds):
        shuffler.shuffle(order)
        for name in order:
            found[name].append(take_cpu_s(PROGRAMS[name]))
    for name, times in found.items():
        print(f"{name}: min {min(times):.3f} s, median {statistics.median(times):.3f} s of {n_rounds} starts")
    alone, imported, helped = (min(times) for times in found.values())
    holds = [
        report(
            "import bakeoff",
            f"{imported - alone:.3f} CPU s more than Python alone, {imported / alone:.1f} ×",
            f"{MAX_IMPORT_S} s, {MAX_IMPORT_RATIO} ×",
            imported - alone <= MAX_IMPORT_S and imported / alone <= MAX_IMPORT_RATIO,
        ),
        report(
            "bakeoff --help",
            f"{helped:.3f} CPU s, {helped / alone:.1f} × Python alone",
            f"{MAX_HELP_S} s, {MAX_HELP_RATIO} ×",
            helped <= MAX_HELP_S and helped / alone <= MAX_HELP_RATIO,
        ),
    ]
    return max(holds)


def take_cpu_s(words: list[str]) -> float:
    """Start Python with these words, and return the CPU seconds of the process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
