"""Synthetic timings whose truth is known, and a clock that only moves when told to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calls:
    """Log-normal durations around 1, with the ways in which real ones are worse than that.

    Attributes:
        sigma: Spread of a call, on the log scale.
        correlation: Of the log of a call with the next.
        stall_share: Share of the calls that are held up.
        stall_mean: Mean of an exponential that a stall adds, in multiples of the call.
        process_effect: Spread of the whole process, on the log scale.
    """

    sigma: float = 0.1
    correlation: float = 0.0
    stall_share: float = 0.0
    stall_mean: float = 5.0
    process_effect: float = 0.0

    def draw(self, rng: np.random.Generator, runs: int, repeats: int, calls: int) -> Floats:
        """Durations [runs, repeats, calls], one process a repeat."""
        shape = (runs, repeats, calls)
        logs = self.sigma * _correlated_normal(rng, shape, self.correlation)
        logs += self.process_effect * rng.standard_normal((runs, repeats, 1))
        is_stalled = rng.random(shape) < self.stall_share
        stalls: Floats = is_stalled * rng.exponential(self.stall_mean, shape)
        durations: Floats = np.exp(logs) * (1 + stalls)
        return durations

    def true_quantile(self, p: float) -> float:
        """The quantile of a call of any process, by solving the distribution function for p."""
        from scipy.optimize import brentq
        from scipy.special import ndtr

        spread = float(np.hypot(self.sigma, self.process_effect))
        middles = (np.arange(20_000) + 0.5) / 20_000
        log_stalls = np.log1p(-self.stall_mean * np.log1p(-middles))

        def excess(log_x: float) -> float:
            smooth = float(ndtr(log_x / spread))
            stalled = float(np.mean(ndtr((log_x - log_stalls) / spread)))
            return (1 - self.stall_share) * smooth + self.stall_share * stalled - p

        return float(np.exp(brentq(excess, -10, 20)))


def _correlated_normal(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> Floats:
    """Standard normal series along the last axis, stationary from the first value on."""
    from scipy.signal import lfilter

    shocks = rng.standard_normal(shape)
    if correlation == 0:
        return shocks
    shocks[..., 1:] *= np.sqrt(1 - correlation**2)
    series: Floats = lfilter([1.0], [1.0, -correlation], shocks, axis=-1)
    return series


Order = Literal["shuffled", "reference first", "one after the other"]


@dataclass(frozen=True)
class Rivals:
    """A candidate and the reference, block by block, on a machine whose speed wanders.

    Attributes:
        ratio: The candidate's true time over the reference's.
        order: Of the blocks in time.
        wander: Most that the machine's speed differs from 1, either way.
        step: Spread of the change of speed from a block to the next, on the log scale.
        noise: Spread of a block median, on the log scale.
        process_effect: Spread of a process, on the log scale.
        second_is_slower: What the second block of a round pays, on the log scale.
    """

    ratio: float
    order: Order = "shuffled"
    repeats: int = 5
    rounds: int = 10
    wander: float = 0.3
    step: float = 0.03
    noise: float = 0.01
    process_effect: float = 0.005
    second_is_slower: float = 0.0

    def draw(self, rng: np.random.Generator, runs: int) -> tuple[Floats, Floats]:
        """Block medians of the candidate and of the reference, each [runs, repeats, rounds]."""
        pairs = self.repeats * self.rounds
        speed = _wander(rng, (runs, 2 * pairs), self.step, float(np.log1p(self.wander)))
        is_second = (
            rng.random((runs, pairs)) < 0.5 if self.order == "shuffled" else np.full((runs, pairs), True)
        )
        if self.order == "one after the other":
            theirs, mine = speed[:, :pairs], speed[:, pairs:]
        else:
            first, second = speed[:, ::2], speed[:, 1::2] + self.second_is_slower
            mine, theirs = np.where(is_second, second, first), np.where(is_second, first, second)
        return np.exp(self._blocks(rng, mine) + np.log(self.ratio)), np.exp(self._blocks(rng, theirs))

    def _blocks(self, rng: np.random.Generator, speed: Floats) -> Floats:
        blocks = speed.reshape(len(speed), self.repeats, self.rounds)
        process: Floats = self.process_effect * rng.standard_normal((len(speed), self.repeats, 1))
        return blocks + process + self.noise * rng.standard_normal(blocks.shape)


def _wander(rng: np.random.Generator, shape: tuple[int, int], step: float, most: float) -> Floats:
    """Random walks along the last axis, reflected at ± most."""
    walk = np.cumsum(step * rng.standard_normal(shape), axis=-1)
    reflected: Floats = np.abs((walk - most) % (4 * most) - 2 * most) - most
    return reflected
