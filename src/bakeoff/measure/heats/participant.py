"""Participants: the candidates of a heat, as the code that runs its rounds sees them."""

from __future__ import annotations

from typing import Protocol

from bakeoff.measure.heats.records import (
    Block,
    BlockRequest,
    Finished,
    Started,
)


class Participant(Protocol):
    """Candidate in a process of its own, or a simulated one in a test.

    Every method raises WorkerError if the process fails; the participant is killed then.
    """

    @property
    def name(self) -> str:
        """Name, unique in the heat."""
        ...

    def begin(self, repeat: int) -> None:
        """Begin a fresh process and import; return at once. Others may import at the same time."""
        ...

    def wait_imported(self, longest_s: float) -> int | None:
        """Return the memory in bytes once it has imported and stopped; None if that takes longer."""
        ...

    def start(self, repeat: int) -> Started:
        """Begin a fresh process unless that is done, load, warm up every variant, and stop."""
        ...

    def run_block(self, request: BlockRequest) -> Block:
        """Resume, run one block, and stop."""
        ...

    def finish(self) -> Finished:
        """Resume, report the peak of memory, and end."""
        ...

    def kill(self) -> None:
        """End at once, even if it was never started."""
        ...
