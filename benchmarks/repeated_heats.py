"""Intervals on a real machine: how often a heat's interval of a ratio holds what the other heats found.

Measures all candidates of a project again and again, each heat for itself, and holds every interval of a
ratio to the reference against the mean of the other heats. Beside it stands what Student's t with Bonferroni
makes of the rounds that headline figures use, which lose a repeat in which the CPUs were apart.

    bakeoff demo --folder /tmp/heats            # any project that has champions; it gets more attempts
    python benchmarks/repeated_heats.py /tmp/heats/config --heats 10

Without a project there is nothing to measure: it says so and ends.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bakeoff.core.comparison.reference import compare_to_reference
from bakeoff.core.records import Measurement
from bakeoff.measure.statistics.readings import LATENCY, REFERENCE, Reading, ratio_to_reference
from bakeoff.orchestrator import bench, open_project

LEAST_COVERAGE = 0.90
MOST_WIDTH = 0.15
# Candidates so far apart need a verdict, and limits so far away must be decided.
FAR_APART, FAR_LIMIT = 1.5, 3.0
LEAST_CONCLUSIVE = 0.95


class Found(NamedTuple):
    """One interval of one heat.

    Attributes:
        heat: Number of the heat.
        ratio: Candidate over reference.
        single: Half-width on the log scale, of this interval by itself.
        joint: Half-width on the log scale, with all of the heat holding together.
        student: What Student's t with Bonferroni makes of the rounds that headline figures use.
        is_conclusive: Whether the verdict says faster or slower.
        is_decided: Whether limits 3 times above and below the absolute p95 are decided.
    """

    heat: int
    ratio: float
    single: float
    joint: float
    student: float
    is_conclusive: bool
    is_decided: bool


def main() -> int:
    """Measure and print a line a candidate; returns 1 where a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config", type=Path, nargs="?", help="configuration folder of a project with champions"
    )
    parser.add_argument("--heats", type=int, default=10)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.config is None:
        print("no project given, so nothing is measured; see --help")
        return 0
    found: dict[str, list[Found]] = {}
    for heat in range(arguments.heats):
        always = ["benchmark.run.mode=force_new", "benchmark.accept_contended=true"]
        project = open_project(arguments.config, [*always, *arguments.overrides])
        timed = [each for each in bench(project).measured if each.heat is not None]
        for name, row in _read(timed, heat):
            found.setdefault(name, []).append(row)
        repeats = {each.heat.repeats for each in timed if each.heat}
        flags = sorted({flag.name for each in timed for flag in each.flags if "(" not in flag.name})
        print(f"heat {heat + 1}: {sorted(repeats)} repeats; {', '.join(flags)}", flush=True)
    return _report(found)


def _read(timed: Sequence[Measurement], heat: int) -> Iterator[tuple[str, Found]]:
    for measurement in timed:
        for calls in measurement.readings:
            reference = measurement.reading(REFERENCE, **calls.at)
            if calls.quantity != LATENCY or reference is None:
                continue
            size = calls.at["batch_size"]
            comparison = compare_to_reference(measurement, size)
            single = ratio_to_reference(calls, reference)
            if comparison is None or comparison.ratio is None or single is None:
                continue
            high = comparison.ratio.high
            n_compared = len(measurement.heat.candidates) - 1 if measurement.heat else 1
            yield (
                f"{measurement.job.candidate}, batch {size}",
                Found(
                    heat=heat,
                    ratio=comparison.ratio.value,
                    single=math.log(single.high / single.value),
                    joint=math.log((high or math.inf) / comparison.ratio.value),
                    student=_student(calls, reference, n_compared),
                    is_conclusive=comparison.verdict in {"faster", "slower"},
                    is_decided=_is_decided(calls),
                ),
            )


def _student(calls: Reading, reference: Reading, n_compared: int) -> float:
    """Half-width on the log scale, of the rounds that headline figures use."""
    from scipy.special import stdtrit

    own, other = calls.block_medians(), reference.block_medians()
    rows: dict[int, list[float]] = {}
    for place in own.keys() & other.keys():
        rows.setdefault(place[0], []).append(math.log(own[place] / other[place]))
    logs = [float(np.median(row)) for row in rows.values()]
    if len(logs) < 2:
        return math.inf
    t = float(stdtrit(len(logs) - 1, 1 - 0.05 / 2 / n_compared))
    return t * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))


def _is_decided(calls: Reading) -> bool:
    p95 = calls.quantile(0.95)
    return p95 is not None and p95.high <= FAR_LIMIT * p95.value and p95.low > p95.value / FAR_LIMIT


def _report(found: dict[str, list[Found]]) -> int:
    print(
        f"{'':<36}{'mean':>7}  {'scatter':>8}  {'width':>7}  {'Student':>9}  {'holds single/joint/Student'}"
    )
    holds: list[tuple[bool, bool, bool]] = []
    for name, rows in sorted(found.items()):
        logs = np.log([row.ratio for row in rows])
        mine = []
        for number, row in enumerate(rows):
            off = abs(logs[number] - np.delete(logs, number).mean()) if len(rows) > 1 else 0.0
            mine.append((off <= row.single, off <= row.joint, off <= row.student))
        holds += mine
        shares = "/".join(f"{np.mean(column):.2f}" for column in zip(*mine, strict=True))
        width = float(np.expm1(np.median([row.joint for row in rows])))
        student = float(np.expm1(np.median([row.student for row in rows])))
        print(
            f"{name:<36}{math.exp(logs.mean()):>7.3f}  {logs.std(ddof=1) if len(rows) > 1 else 0:>8.1%}  "
            f"{width:>7.1%}  {student:>9.1%}  {shares}"
        )
    everything = [row for rows in found.values() for row in rows]
    single, joint, student = (float(np.mean(column)) for column in zip(*holds, strict=True))
    width = float(np.expm1(np.median([row.joint for row in everything])))
    apart = [row for row in everything if max(row.ratio, 1 / row.ratio) >= FAR_APART]
    conclusive = float(np.mean([row.is_conclusive for row in apart])) if apart else 1.0
    decided = float(np.mean([row.is_decided for row in everything]))
    print(f"hold the mean of the other heats: single {single:.3f}, joint {joint:.3f}, Student {student:.3f}")
    widest = float(np.expm1(np.median([row.student for row in everything])))
    print(f"median half-width: {width:.1%}; Student's t with Bonferroni: {widest:.1%}")
    print(f"{FAR_APART:g} times apart with a verdict: {conclusive:.3f}")
    print(f"limits {FAR_LIMIT:g} times away that are decided: {decided:.3f}")
    # What is shown is the joint interval; a state of the machine that outlasts a heat is in neither.
    is_held = joint >= LEAST_COVERAGE and width <= MOST_WIDTH and conclusive >= LEAST_CONCLUSIVE
    print("held" if is_held and decided == 1 else "MISSED")
    return 0 if is_held and decided == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
