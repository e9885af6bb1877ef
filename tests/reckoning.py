"""Headline figures from a stored raw file, reckoned here in another way and not by the instrument."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.readings import COUNTED, DIRTY, LATE

Floats = NDArray[np.float64]


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
            self.generations, self.rounds = (
                arrays[f"{place}.generations"],
                arrays[f"{place}.columns.round"],
            )
            left_out = arrays[f"{place}.columns.left_out"]
        rounds = {*zip(self.generations, self.rounds, left_out, strict=True)}
        steady = [why for _, _, why in rounds if why != LATE]
        is_busy = steady.count(DIRTY) > len(steady) / 2
        self.counted = np.isin(left_out, [COUNTED, DIRTY] if is_busy else [COUNTED])

    def by_generation(self) -> list[Floats]:
        rows = [self.wall[self.counted & (self.generations == each)] for each in np.unique(self.generations)]
        return [row for row in rows if row.size]

    def block_medians(self, *, by_cpu: bool) -> dict[tuple[int, int], float]:
        column, found = self.cpu if by_cpu else self.wall, {}
        for place in {*zip(self.generations.tolist(), self.rounds.tolist(), strict=True)}:
            is_there = self.counted & (self.generations == place[0]) & (self.rounds == place[1])
            if is_there.any():
                found[place] = float(np.median(column[is_there]))
        return found


def reckon_interval(rows: Sequence[Floats], p: float) -> tuple[float, float]:
    """Sectioning united with the order statistics, at 95 %."""
    from scipy.stats import binom, t

    pooled = np.sort(np.concatenate(rows))
    middle = math.log(np.quantile(pooled, p))
    apart = np.log([np.quantile(row, p) for row in rows]) - middle
    half = t.ppf(0.975, len(rows) - 1) * math.sqrt(float(apart @ apart) / (len(rows) - 1) / len(rows))
    counts = np.arange(pooled.size)
    lowest = pooled[np.flatnonzero(binom.cdf(counts, pooled.size, p) <= 0.025)[-1]]
    highest = pooled[np.flatnonzero(binom.sf(counts, pooled.size, p) <= 0.025)[0]]
    return min(math.exp(middle - half), lowest), max(math.exp(middle + half), highest)


def reckon_ratio(
    mine: Mapping[tuple[int, int], float], theirs: Mapping[tuple[int, int], float]
) -> tuple[float, float, float]:
    """Mean over the generations of the median log ratio of their rounds, with Student's t."""
    from scipy.stats import t

    shared = mine.keys() & theirs.keys()
    logs = [
        statistics.median(math.log(mine[place] / theirs[place]) for place in shared if place[0] == generation)
        for generation in sorted({generation for generation, _ in shared})
    ]
    middle = statistics.fmean(logs)
    half = t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def reckon_verdict(low: float, high: float) -> str:
    """What an interval of a ratio allows to say, with 2 % for the same speed."""
    if low > 1 or high < 1:
        return "slower" if low > 1 else "faster"
    return "equivalent" if low * 1.02 > 1 and high < 1.02 else "inconclusive"
