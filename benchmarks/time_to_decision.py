"""Time to a decision: a race beside a measurement of all intervals, and beside the naive loop.

Virtual: 18 candidates of known truth (3 models × 6 runtimes) go through the real heat and the real looks, on
a virtual clock, with an hour as time budget. The true winner is known.

Real: the six candidates of the demo, with the standard protocol. Each way measures in a results folder of its
own. The naive loop takes 10 warm-ups and 100 calls in one process of each candidate; the best score as found
wins.

    bakeoff demo --folder /tmp/race
    python benchmarks/time_to_decision.py /tmp/race/config

Without a project only the virtual part runs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from race import TASK, make_outcomes, weigh
from rig import report
from rig.virtual import Clock, Virtual

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import decide as make_decision
from bakeoff.core.decision.production import Production
from bakeoff.core.decision.race import hold_look
from bakeoff.core.job import Environment, Hardware
from bakeoff.core.quality import measure_quality
from bakeoff.core.records import Measurement
from bakeoff.measure.heats.assemble import assemble_calls, count_done, find_left_out
from bakeoff.measure.heats.protocol import DECIDED, INTERVALS, TimingProtocol, Until
from bakeoff.measure.heats.records import Heat, HeatLook
from bakeoff.measure.heats.run import run_heat
from bakeoff.measure.statistics.readings import LATENCY, OUTCOMES, Reading
from bakeoff.orchestrator import bench, decide, open_project

# Three models, as right answers and ms; six runtimes, as factor of the time and s to start.
MODELS = ((0.950, 12.0), (0.945, 6.0), (0.935, 4.0))
RUNTIMES = ((1.0, 5.0), (0.8, 6.0), (0.5, 2.0), (0.45, 2.0), (0.3, 2.5), (0.2, 2.5))
N_DOCUMENTS = 2000
N_NAIVE = 200
NAIVE = TimingProtocol(
    min_repeats=1,
    max_repeats=1,
    rounds=1,
    min_calls=100,
    max_calls=100,
    warmup_iterations=10,
    warmup_min_s=0.0,
    warmup_max_s=0.01,
)
MOST_VIRTUAL, MOST_REAL = 0.25, 0.5
ENVIRONMENT = Environment(
    hardware=Hardware(machine="x86_64", cpu_model="virtual", physical_cores=2, usable_cpus=2), libraries={}
)


class Way(NamedTuple):
    """One way to measure, with its wall time in s and its winner; None without a clear one."""

    wall_s: float
    winner: str | None


def main() -> int:
    """Print a line for each part; return 1 if a bar is missed."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("config", type=Path, nargs="?", help="configuration folder of a demo that has run")
    parser.add_argument("--seeds", type=int, default=3, help="virtual heats of each way")
    arguments = parser.parse_args()
    codes = [compare_virtual(arguments.seeds)]
    if arguments.config is not None:
        codes.append(compare_real(arguments.config))
    return max(codes)


def compare_virtual(n_seeds: int) -> int:
    """Race 18 candidates and measure them in full, on a virtual clock."""
    settings = DecisionSettings(when_tied="fastest", resamples=1000)
    shares, wrong, truth = [], 0, find_truth(settings)
    for seed in range(n_seeds):
        raced, full = (race_virtual(seed, settings, is_race=is_race) for is_race in (True, False))
        wrong += raced.winner != truth
        shares.append(raced.wall_s / full.wall_s)
        print(
            f"virtual heat {seed}: decided {raced.wall_s:.0f} s ({raced.winner}), "
            f"intervals {full.wall_s:.0f} s ({full.winner}); truly best: {truth}",
            flush=True,
        )
    naive = [loop_virtual(seed, settings) for seed in range(N_NAIVE)]
    n_wrong = sum(way.winner != truth for way in naive)
    print(f"naive loop: {naive[0].wall_s:.0f} s, {n_wrong} of {N_NAIVE} winners wrong", flush=True)
    share = float(np.median(shares))
    figure = f"{share:.2f} of the wall time of intervals, {wrong} of {n_seeds} winners wrong"
    holds = share <= MOST_VIRTUAL and not wrong
    return report("18 virtual candidates", figure, f"{MOST_VIRTUAL}, none wrong", holds)


def find_truth(settings: DecisionSettings) -> str:
    """Return the candidate with the best true score."""
    scores = {
        f"m{m}r{r}": weigh(settings, right, ms * factor)
        for m, (right, ms) in enumerate(MODELS)
        for r, (factor, _) in enumerate(RUNTIMES)
    }
    return f"{max(scores, key=lambda name: scores[name])} × r"


def make_participants(clock: Clock) -> list[Virtual]:
    """Make the 18 candidates."""
    return [
        Virtual(clock, f"m{m}r{r}", ms * factor * 1e6, start_s)
        for m, (_, ms) in enumerate(MODELS)
        for r, (factor, start_s) in enumerate(RUNTIMES)
    ]


def draw_outcomes(seed: int) -> list[Reading]:
    """Draw the outcomes of the three models on the same documents."""
    hard = np.random.default_rng(seed).random(N_DOCUMENTS)
    return [make_outcomes((hard < right).astype(np.float64)) for right, _ in MODELS]


def loop_virtual(seed: int, settings: DecisionSettings) -> Way:
    """Time each candidate in one process, and take the best score as found."""
    clock = Clock(1000 + seed)
    rights = [float(np.mean(each.columns["predicted"])) for each in draw_outcomes(seed)]
    heat = run_heat(make_participants(clock), NAIVE, now_s=clock.now_s)
    scores = {
        part.name: weigh(settings, rights[int(part.name[1])], float(np.median(part.blocks[0].wall_ns)))
        for part in heat.repeats[0].parts
    }
    return Way(clock.now_s(), f"{max(scores, key=lambda name: scores[name])} × r")


def race_virtual(seed: int, settings: DecisionSettings, *, is_race: bool) -> Way:
    """Hold a heat of 18 on a virtual clock."""
    clock = Clock(seed)
    outcomes = draw_outcomes(seed)
    protocol = TimingProtocol(time_budget_s=3600)
    gone = set[str]()

    def look(heat: Heat) -> HeatLook:
        candidates = assemble(heat, outcomes)
        found = hold_look(
            candidates,
            settings,
            Production(),
            repeats=count_done(heat.repeats, find_left_out(heat.repeats)),
            max_repeats=protocol.max_repeats,
            racing=[each.label for each in candidates if each.label not in gone],
        )
        gone.update(found.dropped)
        return HeatLook(frozenset(label.removesuffix(" × r") for label in found.dropped), found.stop)

    heat = run_heat(make_participants(clock), protocol, now_s=clock.now_s, look=look if is_race else None)
    return Way(clock.now_s(), make_decision(assemble(heat, outcomes), settings).winner)


def assemble(heat: Heat, outcomes: Sequence[Reading]) -> list[Candidate]:
    """Make candidates of a heat; the first participant is the reference."""
    calls = assemble_calls(heat, find_left_out(heat.repeats), kinds=[(0.5, "time"), (0.5, "ratio")])
    return [
        Candidate(
            backbone=name,
            runtime="r",
            champion_run_id=name,
            checkpoint_digest="c" * 64,
            quality_inputs_digest="q",
            task=TASK,
            outcomes=outcomes[int(name[1])],
            latency={1: rows[0].own},
            references={} if rows[0].reference is None else {1: rows[0].reference},
            reference_key=heat.reference,
            heat_id="heat",
            latency_key=name,
            environment=ENVIRONMENT,
            benchmark_keys=(name,),
        )
        for name, rows in sorted(calls.items(), key=lambda row: row[0] != heat.reference)
    ]


def compare_real(config: Path) -> int:
    """Measure the candidates of a project in both ways, and naively."""
    naive = measure_real(config, INTERVALS, NAIVE)
    print(f"naive loop: {naive.wall_s:.0f} s, {naive.winner}", flush=True)
    raced, full = (measure_real(config, until, TimingProtocol()) for until in (DECIDED, INTERVALS))
    share = raced.wall_s / full.wall_s
    winners = f"winners {raced.winner}, {full.winner}"
    figure = f"{raced.wall_s:.0f} s of {full.wall_s:.0f} s ({share:.2f}); {winners}"
    holds = share <= MOST_REAL and raced.winner == full.winner
    return report("the demo's candidates", figure, f"{MOST_REAL}, same winner", holds)


def measure_real(config: Path, until: Until, protocol: TimingProtocol) -> Way:
    """Measure a copy of a project without its results, offline; naively, the best score as found wins."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "project"
        shutil.copytree(config.parent, root, ignore=shutil.ignore_patterns("work", "jobs"))
        overrides = [
            f"benchmark.protocol={protocol.model_dump_json()}",
            f"benchmark.until={until}",
            "benchmark.run.mode=force_new",
            "decision.when_tied=fastest",
        ]
        project = open_project(root / config.name, overrides, is_offline=True)
        begin_s = time.monotonic()
        done = bench(project)
        wall_s = time.monotonic() - begin_s
        repeats = {each.heat.repeats for each in done.measured if each.heat is not None}
        if protocol == NAIVE:
            return Way(wall_s, _find_best(done.measured, project.settings.decision))
        print(f"{until}: {wall_s:.0f} s, {sorted(repeats)} repeats", flush=True)
        return Way(wall_s, decide(project).winner)


def _find_best(measured: Sequence[Measurement], settings: DecisionSettings) -> str:
    qualities: dict[str, float] = {}
    medians: dict[str, float] = {}
    for each in measured:
        outcomes = each.reading(OUTCOMES)
        if outcomes is not None:
            metric = each.job.task.find_metric(settings.metric)
            qualities[each.job.candidate] = measure_quality(outcomes, metric)
        calls = each.reading(LATENCY, batch_size=settings.batch_size)
        if calls is not None:
            medians[each.job.candidate] = float(np.median(calls.values))
    return max(medians, key=lambda name: weigh(settings, qualities[name], medians[name]))


if __name__ == "__main__":
    sys.exit(main())
