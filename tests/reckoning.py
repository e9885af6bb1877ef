"""Headline figures from a stored raw file, reckoned here in another way and not by the instrument."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.statistics.readings import APART, COUNTED, DIRTY, LATE

Floats = NDArray[np.float64]
Blocks = Mapping[tuple[int, int], float]
# The weak prior: of the spread between processes a log-normal around this, of d0 one over its root.
MIDDLE = {"time": 0.06, "ratio": 0.04}
GRID = tuple((d0, spread) for d0 in (1.0, 2.0, 4.0, 8.0) for spread in np.geomspace(0.002, 1.5, 23))


class Raw:
    """One reading of a stored attempt, by numpy alone.

    Args:
        path: Of the attempt's JSON; the arrays are beside it.
        quantity: What was read.
        batch_size: At which.
    """

    def __init__(self, path: Path, quantity: str, batch_size: int) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        (place,) = (
            number
            for number, reading in enumerate(document["readings"])
            if reading["quantity"] == quantity and reading["at"] == {"batch_size": batch_size}
        )
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            self.wall, self.cpu = arrays[f"{place}.values"], arrays[f"{place}.columns.cpu_ns"]
            self.repeats, self.rounds = (
                arrays[f"{place}.repeats"],
                arrays[f"{place}.columns.round"],
            )
            left_out = arrays[f"{place}.columns.left_out"]
        rounds = {*zip(self.repeats, self.rounds, left_out, strict=True)}
        steady = [why for _, _, why in rounds if why != LATE]
        is_busy = steady.count(DIRTY) > len(steady) / 2
        self.steady = left_out != LATE
        self.counted = np.isin(left_out, [COUNTED, DIRTY] if is_busy else [COUNTED])
        self.paired = self.counted | (left_out == APART)
        for each in np.unique(self.repeats):
            here = self.repeats == each
            if not (self.paired & here).any():
                self.paired |= here & self.steady

    def by_repeat(self) -> dict[int, Floats]:
        rows = {
            int(each): self.wall[self.counted & (self.repeats == each)] for each in np.unique(self.repeats)
        }
        return {number: row for number, row in rows.items() if row.size}

    @property
    def is_thinned(self) -> bool:
        of_all = {*self.repeats[self.steady].tolist()}
        return of_all > self.by_repeat().keys() or 2 * self.counted.sum() <= self.steady.sum()

    def block_medians(self, *, by_cpu: bool) -> dict[tuple[int, int], float]:
        column, found = self.cpu if by_cpu else self.wall, {}
        for place in {*zip(self.repeats.tolist(), self.rounds.tolist(), strict=True)}:
            is_there = self.paired & (self.repeats == place[0]) & (self.rounds == place[1])
            if is_there.any():
                found[place] = float(np.median(column[is_there]))
        return found


def log_ratios(mine: Blocks, theirs: Blocks) -> dict[int, float]:
    """The median log ratio over the rounds that both ran, by repeat."""
    rows: dict[int, list[float]] = {}
    for place in mine.keys() & theirs.keys():
        rows.setdefault(place[0], []).append(math.log(mine[place] / theirs[place]))
    return {number: statistics.median(rows[number]) for number in sorted(rows)}


class Known(NamedTuple):
    """What the heat shows of the variance between processes.

    Attributes:
        of: ``time`` or ``ratio``.
        variances: Of all series of the heat.
        degrees: Of freedom of each of these.
    """

    of: str
    variances: Sequence[float]
    degrees: int


def reckon_half_width(logs: Sequence[float], known: Known, middle: float | None = None) -> float:
    """Half of the 95 % interval of the mean of a series, on the log scale, with a moderated variance.

    Args:
        logs: The series.
        known: Of a single pair, or of times: the series of a heat then count as one.
        middle: Around which the series spreads; None is its mean.
    """
    from scipy.optimize import brentq
    from scipy.stats import f, lognorm, t

    # A log-normal has 1 / x in its density, which the even steps of the grid take away.
    weights = np.array([
        spread * lognorm.pdf(spread, 2.0, scale=MIDDLE[known.of]) / math.sqrt(d0) * statistics.geometric_mean(
            f.pdf(max(each, 1e-8) / spread**2, known.degrees, d0) / spread**2 for each in known.variances
        )
        for d0, spread in GRID
    ])  # fmt: skip
    n = len(logs)
    apart = np.array(logs) - (statistics.fmean(logs) if middle is None else middle)
    ours = [
        (d0 + n - 1, math.sqrt((d0 * spread**2 + float(apart @ apart)) / (d0 + n - 1) / n))
        for d0, spread in GRID
    ]
    totals, scales = (np.array(part) for part in zip(*ours, strict=True))

    def excess(half: float) -> float:
        return float(weights @ t.cdf(-half / scales, totals)) / float(weights.sum()) - 0.025

    return float(brentq(excess, 1e-9, 1e4, xtol=1e-14, rtol=1e-12))


def reckon_interval(calls: Raw, p: float, heat: Sequence[Raw]) -> tuple[float, float]:
    """Sectioning united with the order statistics, at 95 %.

    Args:
        calls: Whose quantile it is.
        p: The quantile.
        heat: The calls of each candidate of its heat at each batch size.
    """
    from scipy.stats import binom

    rows = list(calls.by_repeat().values())
    pooled = np.sort(np.concatenate(rows))
    middle = math.log(np.quantile(pooled, p))
    by_candidate = [
        {number: math.log(np.quantile(row, p)) for number, row in each.by_repeat().items()} for each in heat
    ]
    logs = [math.log(np.quantile(row, p)) for row in rows]
    half = reckon_half_width(logs, know("time", by_candidate), middle)
    counts = np.arange(pooled.size)
    lowest = pooled[np.flatnonzero(binom.cdf(counts, pooled.size, p) <= 0.025)[-1]]
    highest = pooled[np.flatnonzero(binom.sf(counts, pooled.size, p) <= 0.025)[0]]
    low, high = min(math.exp(middle - half), lowest), max(math.exp(middle + half), highest)
    # Where half is left out, the interval holds what all of it says, as far around.
    moved = np.quantile(calls.wall[calls.steady], p) / math.exp(middle) if calls.is_thinned else 1.0
    return low * min(moved, 1.0), high * max(moved, 1.0)


def know(of: str, series: Sequence[Mapping[int, float]]) -> Known:
    """The variances of all series over the repeats that all have."""
    shared = set.intersection(*({*each} for each in series))
    variances = [statistics.variance([each[n] for n in sorted(shared)]) for each in series]
    return Known(of, variances, len(shared) - 1)


def reckon_ratio(
    mine: Raw, theirs: Raw, heat: Sequence[tuple[Raw, Raw]], *, by_cpu: bool = False
) -> tuple[float, float, float]:
    """Mean over the repeats of the median log ratio of their rounds, in a heat of just two candidates.

    Args:
        mine: The candidate's calls.
        theirs: The reference's, of the same batch size.
        heat: Both at each batch size, whose repeats share their processes: they count as one series.
        by_cpu: Of CPU time.
    """
    from scipy.stats import binom

    blocks = [[raw.block_medians(by_cpu=by_cpu) for raw in pair] for pair in ((mine, theirs), *heat)]
    own, other = blocks[0]
    logs = [*log_ratios(own, other).values()]
    middle = statistics.fmean(logs)
    half = reckon_half_width(logs, know("ratio", [log_ratios(*pair) for pair in blocks[1:]]))
    low, high = middle - half, middle + half
    rounds = sorted(math.log(own[place] / other[place]) for place in own.keys() & other.keys())
    fewer = binom.cdf(np.arange(len(rounds)), len(rounds), 0.5)
    if fewer[0] <= 0.025:
        rank = int(np.flatnonzero(fewer <= 0.025)[-1])
        low, high = min(low, rounds[rank]), max(high, rounds[-1 - rank])
    return math.exp(middle), math.exp(low), math.exp(high)


def reckon_verdict(low: float, high: float) -> str:
    """What an interval of a ratio allows to say, with 2 % for the same speed."""
    if low > 1 or high < 1:
        return "slower" if low > 1 else "faster"
    return "equivalent" if low * 1.02 > 1 and high < 1.02 else "inconclusive"
