"""Time that passes as a test says, on however busy a machine."""

from __future__ import annotations


class VirtualClock:
    """Time that passes only by sleeping, by working, and by a tick at each look.

    Attributes:
        oversleep_s: What every sleep takes longer than asked.
        slept_s: In all, as asked.
    """

    def __init__(self, tick_ns: int = 20_000, oversleep_s: float = 0.0) -> None:
        self.now_ns = 10**12
        self.tick_ns = tick_ns
        self.oversleep_s = oversleep_s
        self.slept_s = 0.0

    def __call__(self) -> int:
        self.now_ns += self.tick_ns
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        self.pass_by(seconds + self.oversleep_s)

    def pass_by(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
