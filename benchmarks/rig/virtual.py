"""Participants on a virtual clock, whose true times are known: whole heats in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bakeoff.measure.heats.records import Block, BlockRequest, Finished, Started, WarmUp

N_INPUTS = 32


class Clock:
    """Clock that participants move, and the random numbers that they share.

    Args:
        seed: Seed of all that is random.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.now_ns = 0.0

    def now_s(self) -> float:
        """Time since the beginning, in s."""
        return self.now_ns / 1e9


@dataclass
class Virtual:
    """Participant whose processes differ by 3 %, and calls by 2 %.

    Attributes:
        call_ns: True time of a call.
        start_s: Time to import, load and warm up.
    """

    clock: Clock
    name: str
    call_ns: float
    start_s: float
    effect: float = 1.0

    def begin(self, repeat: int) -> None:
        """Do nothing: importing is part of the start."""

    def wait_imported(self, longest_s: float) -> int | None:
        """Be ready at once."""
        return 0

    def start(self, repeat: int) -> Started:
        """Take the time of a start, and draw the effect of this process."""
        self.clock.now_ns += self.start_s * 1e9
        self.effect = math.exp(self.clock.random.normal(0, 0.03))
        tokens = (16,) * N_INPUTS
        warm_up = WarmUp(
            variant=1,
            first_call_ns=int(self.call_ns),
            warmup_ns=int(5e8),
            n_calls=50,
            median_ns=self.call_ns * self.effect,
            is_steady=True,
            n_tokens=tokens,
            n_padded_tokens=tokens,
        )
        return Started(warm_ups=(warm_up,))

    def run_block(self, request: BlockRequest) -> Block:
        """Draw the calls of a block."""
        noise = np.exp(self.clock.random.normal(0, 0.02, request.samples))
        wall = np.maximum(self.call_ns * self.effect * noise, 1.0)
        self.clock.now_ns += float(wall.sum()) * request.calls_per_sample
        wall_ns = tuple(map(round, wall.tolist()))
        return Block(
            variant=request.variant,
            calls_per_sample=request.calls_per_sample,
            first_input=request.first_input,
            start_ns=int(self.clock.now_ns),
            wall_ns=wall_ns,
            cpu_ns=wall_ns,
            counters={"block_ns": float(sum(wall_ns)), "run_delay_ns": 0.0},
        )

    def finish(self) -> Finished:
        """End."""
        return Finished()

    def kill(self) -> None:
        """End at once."""
