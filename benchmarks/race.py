"""Races to a decision on synthetic truth: how often the truly best is dropped, and what is saved.

A heat has C candidates of known speed in up to 12 repeats. Every repeat shifts all candidates alike, as a
drifting machine does; every process has an effect of its own. Where quality counts, every candidate answers
each document right with a probability of its own. After each repeat from the third on, the real look of
bakeoff is held on what is there.

    python benchmarks/race.py               all rows, about 20 CPU minutes
    python benchmarks/race.py --races 10    a look

The bar: the truly best is dropped in at most 5 % of the races, beyond two standard errors. Of several equally
good ones the mean share counts. The last column is the same race without spending its error over looks and
rivals, which must fail in at least one row.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.core.config.decision_rules import Fastest, Weighted
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision import race
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.production import Production
from bakeoff.core.job import Environment, Hardware
from bakeoff.measure.heats.run import FIRST_LOOK
from bakeoff.measure.statistics.readings import COUNTED, LATENCY, OUTCOMES, REFERENCE, Reading
from bakeoff.measure.statistics.spreads import find_spreads
from bakeoff.measure.tasks import TextClassification

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
MAX_REPEATS = 12
N_ROUNDS = 8  # a quantile at a strict level needs some samples
N_DOCUMENTS = 300
DRIFT = 0.2
MOST_UNSPENT = 6  # candidates; the rows with more take long, and show the same
TASK = TextClassification()
ENVIRONMENT = Environment(
    hardware=Hardware(machine="x86_64", cpu_model="virtual", physical_cores=2, usable_cpus=2), libraries={}
)


class Truth(NamedTuple):
    """Truth about the candidates of a race.

    Attributes:
        name: Name of the row.
        logs: Logarithm of the true latency of each candidate.
        accuracies: True share of right answers of each; None if speed alone counts.
        spread: Draws the standard deviation between the processes of each candidate.
        is_heavy: Whether the effects of processes have heavy tails.
    """

    name: str
    logs: Floats
    accuracies: Floats | None
    spread: Callable[[np.random.Generator, int], Floats]
    is_heavy: bool = False


class Raced(NamedTuple):
    """Outcome of one race.

    Attributes:
        dropped: Share of the truly best that was dropped: 0 or 1 unless several are equally good.
        repeats: Repeats that it took.
        process_share: Processes that it took, as a share of those of all repeats.
    """

    dropped: float
    repeats: int
    process_share: float


def _even(spread: float) -> Callable[[np.random.Generator, int], Floats]:
    return lambda _, count: np.full(count, spread)


def _mixed(random: np.random.Generator, count: int) -> Floats:
    return np.exp(random.uniform(math.log(0.01), math.log(0.12), count))


def list_truths() -> list[Truth]:
    """List the rows: equal ones, near ones, clear ones; with and without quality."""
    steps = np.array([0.0, 0.1, 0.7, 0.9, 1.2, 1.6])
    return [
        Truth("2, 3 % apart", np.array([0.0, 0.03]), None, _even(0.04)),
        Truth("6 equal", np.zeros(6), None, _even(0.04)),
        Truth("6 equal, heavy tails", np.zeros(6), None, _even(0.04), is_heavy=True),
        Truth("6, clear", steps, None, _mixed),
        Truth("18, 2 % steps", np.linspace(0, 0.34, 18), None, _mixed),
        Truth("40, equal pairs", np.sort(np.tile(np.linspace(0, 0.95, 20), 2)), None, _even(0.04)),
        Truth("6, weighted", steps, np.array([0.90, 0.93, 0.94, 0.94, 0.95, 0.95]), _mixed),
        Truth("18, weighted", np.tile(steps, 3), np.repeat(np.array([0.93, 0.94, 0.945]), 6), _even(0.04)),
    ]


def _row(quantity: str, logs: Floats) -> Reading:
    """Make the timed calls of a candidate from log times [repeats, rounds]."""
    repeats, rounds = np.indices(logs.shape)
    ns = 1e7 * np.exp(logs.ravel())
    return Reading(
        quantity=quantity,
        unit="ns",
        at={"batch_size": 1},
        values=tuple(ns.tolist()),
        repeats=tuple(repeats.ravel().tolist()),
        columns={
            "round": tuple(rounds.ravel().tolist()),
            "left_out": (COUNTED,) * ns.size,
            "calls_per_sample": (1,) * ns.size,
            "cpu_ns": tuple(ns.astype(int).tolist()),
        },
    )


def make_outcomes(right: Floats) -> Reading:
    """Make outcomes of documents of which each has one label, with the right one as number 1."""
    numbers = right.astype(int)
    return Reading(
        quantity=OUTCOMES,
        unit="count",
        values=(1.0,) * right.size,
        repeats=(0,) * right.size,
        columns={"predicted": tuple(numbers.tolist()), "actual": (1,) * right.size},
    )


def assemble(times: Floats, rights: Floats | None, dropped: dict[int, int]) -> list[Candidate]:
    """Make candidates from log times [candidates, repeats, rounds]; dropped ones keep their first repeats."""
    rows = [times[n, : dropped.get(n, times.shape[1])] for n in range(len(times))]
    own = {f"c{n:02d}": {1: _row(LATENCY, row)} for n, row in enumerate(rows)}
    spreads = find_spreads(own, "c00", [(0.5, "time"), (0.5, "ratio")])
    return [
        Candidate(
            backbone=name,
            runtime="r",
            champion_run_id=name,
            checkpoint_digest="c" * 64,
            quality_inputs_digest="q",
            task=TASK,
            outcomes=None if rights is None else make_outcomes(rights[n]),
            latency={1: own[name][1].replace(spreads=spreads)},
            references={} if n == 0 else {1: _row(REFERENCE, times[0, : len(rows[n])])},
            reference_key="k00",
            heat_id="heat",
            latency_key=f"k{n:02d}",
            environment=ENVIRONMENT,
            benchmark_keys=(f"k{n:02d}",),
        )
        for n, name in enumerate(own)
    ]


def weigh(settings: DecisionSettings, accuracy: float, ms: float) -> float:
    """Return the logarithm of the weighted score, but for the reference's part."""
    share = settings.objective.weights.quality_share if isinstance(settings.objective, Weighted) else 1.0
    return share * math.log(accuracy) - (1 - share) * math.log(ms)


def find_best(truth: Truth, settings: DecisionSettings) -> NDArray[np.bool_]:
    """Return whether each candidate is truly best."""
    scores = -truth.logs
    if truth.accuracies is not None:
        both = zip(truth.accuracies, np.exp(truth.logs), strict=True)
        scores = np.array([weigh(settings, accuracy, ms) for accuracy, ms in both])
    best: NDArray[np.bool_] = scores == scores.max()
    return best


def run_race(truth: Truth, random: np.random.Generator, settings: DecisionSettings) -> Raced:
    """Race until the heat would end."""
    count = len(truth.logs)
    order = random.permutation(count)  # the reference may be anyone
    logs, best = truth.logs[order], np.flatnonzero(find_best(truth, settings)[order])
    spreads = truth.spread(random, count)[:, np.newaxis]
    shape = (count, MAX_REPEATS)
    effects = random.standard_t(3, shape) / math.sqrt(3) if truth.is_heavy else random.standard_normal(shape)
    times = logs[:, np.newaxis] + spreads * effects + DRIFT * random.standard_normal(MAX_REPEATS)
    calls = times[:, :, np.newaxis] + 0.005 * random.standard_normal((*shape, N_ROUNDS))
    rights = None
    if truth.accuracies is not None:
        hard = random.random(N_DOCUMENTS)  # the same documents are hard for all
        luck = random.random((count, N_DOCUMENTS))
        rights = (0.7 * hard + 0.3 * luck < truth.accuracies[order][:, np.newaxis]).astype(np.float64)
    dropped: dict[int, int] = {}
    for repeats in range(FIRST_LOOK, MAX_REPEATS):
        racing = [n for n in range(count) if n not in dropped]
        found = race.hold_look(
            assemble(calls[:, :repeats], rights, dropped),
            settings,
            Production(),
            repeats=repeats,
            max_repeats=MAX_REPEATS,
            racing=[f"c{n:02d} × r" for n in racing],
        )
        dropped |= {int(label[1:3]): repeats for label in found.dropped}
        if found.stop:
            break
    kept = [dropped.get(n, repeats) for n in range(count)]
    share = float(np.mean([n in dropped for n in best]))
    return Raced(share, repeats, sum(kept) / (MAX_REPEATS * count))


def simulate(truth: Truth, n_races: int) -> Iterator[Raced]:
    """Race again and again on one truth."""
    random = np.random.default_rng([len(truth.logs), n_races, sum(map(ord, truth.name))])
    objective = Fastest(kind="fastest") if truth.accuracies is None else Weighted()
    settings = DecisionSettings(objective=objective, confidence=CONFIDENCE, resamples=1000)
    for _ in range(n_races):
        yield run_race(truth, random, settings)


def simulate_unspent(truth: Truth, n_races: int) -> float:
    """Return how often the best is dropped if every look takes the whole error."""
    spent, at_level = race.spend, race._at_level
    try:
        race.spend = lambda *_: 1 - CONFIDENCE
        race._at_level = lambda error, n_candidates, settings: at_level(error, min(n_candidates, 2), settings)
        return float(np.mean([raced.dropped for raced in simulate(truth, n_races)]))
    finally:
        race.spend, race._at_level = spent, at_level


def main() -> int:
    """Print a row for each truth; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--races", type=int, default=100)
    n_races = parser.parse_args().races
    bar = 1 - CONFIDENCE + 2 * math.sqrt((1 - CONFIDENCE) * CONFIDENCE / n_races)
    print(f"{'candidates':<22} best dropped  repeats (median)  share of processes  without spending")
    missed, unspent = [], [0.0]
    for truth in list_truths():
        raced = list(simulate(truth, n_races))
        share = float(np.mean([each.dropped for each in raced]))
        last = ""
        if len(truth.logs) <= MOST_UNSPENT:
            unspent.append(simulate_unspent(truth, n_races))
            last = f"{unspent[-1]:.3f}"
        print(
            f"{truth.name:<22} {share:>12.3f}  {np.median([each.repeats for each in raced]):>16.0f}  "
            f"{np.mean([each.process_share for each in raced]):>18.2f}  {last:>16}",
            flush=True,
        )
        if share > bar:
            missed.append(truth.name)
    if missed:
        print(f"missed: the best is dropped too often: {', '.join(missed)} (bar {bar:.3f})")
    if max(unspent) <= bar:
        print("missed: without spending nothing fails, so this shows nothing")
    return 1 if missed or max(unspent) <= bar else 0


if __name__ == "__main__":
    sys.exit(main())
