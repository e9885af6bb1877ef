"""Intervals from few repeats: how often they hold the truth, and how wide they are, on synthetic heats.

A heat has C candidates in G repeats. Every repeat shifts all candidates alike by 20 % or so, as a drifting
machine does; every process has an effect of its own, with a spread that may differ between candidates; and in
15 of 100 heats one process is 10 to 30 % off. The truth is known: every ratio is 1.

    python benchmarks/intervals.py               all rows, some minutes
    python benchmarks/intervals.py --heats 300   a look

The intervals of bakeoff are held against the bars. A bar counts as missed where a share falls short by more
than two standard errors. The other columns are what they replace, and must fail: Student's t with Bonferroni
is many times as wide, and pooling all variances into one breaks where candidates differ.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.statistics.moderation import (
    Spread,
    center_ratios,
    center_series,
    joint_factor,
    moderate,
    prior_of,
)

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
DRIFT = 0.2
ODD_SHARE = 0.15
# The bars. At two repeats, candidates whose spreads differ cannot all be covered at once.
LEAST_SINGLE, LEAST_JOINT, LEAST_JOINT_OF_TWO = 0.93, 0.92, 0.90
MOST_FALSE = 0.07


class Mix(NamedTuple):
    """How spreads are spread: a function from a generator and a number of candidates to theirs."""

    name: str
    draw: Callable[[np.random.Generator, int], Floats]


def _one_wild(random: np.random.Generator, count: int) -> Floats:
    spreads = np.full(count, 0.03)
    spreads[random.integers(1, count)] = 0.25
    return spreads


MIXES = (
    Mix("1 %", lambda _, count: np.full(count, 0.01)),
    Mix("3 %", lambda _, count: np.full(count, 0.03)),
    Mix("10 %", lambda _, count: np.full(count, 0.10)),
    Mix("mixed 1-12 %", lambda random, count: np.exp(random.uniform(math.log(0.01), math.log(0.12), count))),
    Mix("3 %, one 25 %", _one_wild),
)


class Found(NamedTuple):
    """Half-widths [ratios] on the log scale, each by itself and all together."""

    single: Floats
    joint: Floats


class Row(NamedTuple):
    """Shares of heats, and half-widths as shares of the ratio."""

    single: float
    joint: float
    false: float
    median_width: float
    wide_width: float


def make_heat(random: np.random.Generator, count: int, repeats: int, mix: Mix) -> Floats:
    """Draw log times [candidates, repeats] whose true value is the same for all."""
    logs = random.standard_normal((count, repeats)) * mix.draw(random, count)[:, np.newaxis]
    logs += DRIFT * random.standard_normal(repeats)
    if random.random() < ODD_SHARE:
        off = math.log1p(random.uniform(0.1, 0.3)) * random.choice((-1, 1))
        logs[random.integers(count), random.integers(repeats)] += off
    return logs


def moderated(ratios: Floats) -> Found:
    """Make the intervals of bakeoff, of log ratios [candidates, repeats]; the first row is the reference."""
    spread = Spread(
        quantile=0.5,
        of="ratio",
        batch_sizes=(1,) * len(ratios),
        deviations=tuple(map(tuple, center_ratios(ratios).tolist())),
    )
    prior = prior_of(spread)
    halves = np.array([moderate(row, "ratio", prior).half_width(CONFIDENCE) for row in ratios[1:]])
    return Found(halves, halves * joint_factor(spread.ratios_at(1), prior, CONFIDENCE))


def student(ratios: Floats) -> Found:
    """Student's t, and Bonferroni for all together."""
    from scipy.special import stdtrit

    count, repeats = ratios[1:].shape
    errors = ratios[1:].std(axis=1, ddof=1) / math.sqrt(repeats)
    single, joint = (stdtrit(repeats - 1, 1 - (1 - CONFIDENCE) / 2 / share) for share in (1, count))
    return Found(single * errors, joint * errors)


def pooled(ratios: Floats) -> Found:
    """One variance for all, as if nothing set the candidates apart; Bonferroni for all together."""
    from scipy.special import stdtrit

    count, repeats = ratios[1:].shape
    degrees = count * (repeats - 1)
    error = math.sqrt(float((center_series(ratios[1:]) ** 2).sum()) / degrees / repeats)
    single, joint = (stdtrit(degrees, 1 - (1 - CONFIDENCE) / 2 / share) for share in (1, count))
    return Found(np.full(count, single * error), np.full(count, joint * error))


def simulate(method: Callable[[Floats], Found], count: int, repeats: int, mix: Mix, n_heats: int) -> Row:
    """Run a method on heats of one kind."""
    random = np.random.default_rng([count, repeats, MIXES.index(mix)])
    single, joint, false, widths = [], [], [], []
    for _ in range(n_heats):
        logs = make_heat(random, count, repeats, mix)
        ratios = logs - logs[:1]
        found = method(ratios)
        off = np.abs(ratios[1:].mean(axis=1))
        single += list(off <= found.single)
        joint.append(bool((off <= found.joint).all()))
        false += list(off > found.joint)
        widths += list(np.expm1(found.joint))
    return Row(
        float(np.mean(single)),
        float(np.mean(joint)),
        float(np.mean(false)),
        float(np.median(widths)),
        float(np.quantile(widths, 0.9)),
    )


def find_faults(row: Row, repeats: int, n_heats: int) -> Iterator[str]:
    """Say which bars a row of bakeoff's own intervals misses."""
    least_joint = LEAST_JOINT_OF_TWO if repeats == 2 else LEAST_JOINT
    for what, share, least in (
        ("single intervals hold", row.single, LEAST_SINGLE),
        ("all hold together", row.joint, least_joint),
        ("twins are not told apart", 1 - row.false, 1 - MOST_FALSE),
    ):
        if share + 2 * math.sqrt(share * (1 - share) / n_heats) < least:
            yield f"{what} in {share:.3f} (at least {least:.2f})"


def main() -> int:
    """Print a line a kind of heat; returns 1 where a bar is missed, or where what must fail does not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--heats", type=int, default=1500, help="heats of each kind")
    n_heats = parser.parse_args().heats
    print(f"{'C':>2} {'G':>2}  {'spread':<14}  {'bakeoff':<34}  {'Student, Bonferroni':<20}  pooled")
    print(f"{'':22}{'single':<8}{'joint':<8}{'width (90 %)':<18}  {'joint':<8}{'width':<12}  joint")
    faults, pooled_fails, widths = [], False, []
    for count in (2, 6, 18):
        for repeats in (2, 3, 5, 10):
            for mix in MIXES:
                rows = [
                    simulate(method, count, repeats, mix, n_heats) for method in (moderated, student, pooled)
                ]
                ours, theirs, flat = rows
                found = list(find_faults(ours, repeats, n_heats))
                faults += [f"{count} candidates, {repeats} repeats, {mix.name}: {each}" for each in found]
                pooled_fails = pooled_fails or flat.joint < 0.85
                if (count, repeats) == (6, 3):
                    widths.append((mix.name, ours.median_width, theirs.median_width))
                print(
                    f"{count:>2} {repeats:>2}  {mix.name:<14}  {ours.single:<8.3f}{ours.joint:<8.3f}"
                    f"{f'{ours.median_width:.1%} ({ours.wide_width:.1%})':<18}  "
                    f"{theirs.joint:<8.3f}{theirs.median_width:<12.1%}  {flat.joint:.3f}"
                    f"{'  <- missed' if found else ''}",
                    flush=True,
                )
    for name, ours_width, their_width in widths:
        print(
            f"six candidates, three repeats, {name}: {their_width / ours_width:.1f} × narrower than Student"
        )
    print(f"pooling all variances fails somewhere, as it must: {'yes' if pooled_fails else 'NO'}")
    for fault in faults:
        print(f"missed: {fault}")
    return 1 if faults or not pooled_fails else 0


if __name__ == "__main__":
    sys.exit(main())
