"""A heat: candidates that are measured together, in interleaved rounds. What is kept of it, all of it raw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bakeoff.record import Record

Stop = Literal["targets", "budget", "repeats"]


class WarmUp(Record):
    """How one variant of a participant became steady in one process.

    Attributes:
        first_call_ns: Time of its first call; that of the first variant is the first of the process.
        warmup_ns: From the first call until it was given free.
        n_calls: Calls made.
        median_ns: Of the last block.
        is_steady: Whether it was steady, and not merely given up.
        n_tokens: Of each input, without padding.
        n_padded_tokens: Of each input, as computed.
        n_documents: That one call answers.
        least_samples: Of a block, instead of the protocol's own least; None leaves it.
    """

    variant: int
    first_call_ns: int
    warmup_ns: int
    n_calls: int
    median_ns: float
    is_steady: bool
    n_tokens: tuple[int, ...]
    n_padded_tokens: tuple[int, ...]
    n_documents: int = 1
    least_samples: int | None = None


class Started(Record):
    """A participant that is loaded, warm and waiting.

    Attributes:
        at_ns: When it began, since the Unix epoch.
        spawn_ns: From the start of the process to its first line of ours.
        import_ns: Imports of the runtime's libraries. Other workers may import at the same time, at most one
            for each physical core; everything below is read while no other worker runs.
        load_ns: From the checkpoint to a session.
        overhead_ns: What timing a call that does nothing reads: the cost of the instrument, one a sample.
        calibration_ns: Times of a fixed computation in this process, the same on every machine.
        tokenize_ns: Time to encode each text, one by one.
        resident_bytes: Memory of the process now.
        memory_bytes: Peak memory at each mark so far.
    """

    warm_ups: tuple[WarmUp, ...]
    at_ns: int = 0
    spawn_ns: int = 0
    import_ns: int = 0
    load_ns: int = 0
    overhead_ns: tuple[int, ...] = ()
    calibration_ns: tuple[int, ...] = ()
    tokenize_ns: tuple[int, ...] = ()
    n_truncated: int = 0
    resident_bytes: int = 0
    memory_bytes: Mapping[str, int] = {}
    facts: Mapping[str, str] = {}


class BlockRequest(Record):
    """One block to be run.

    Attributes:
        samples: Timed samples; one untimed call comes before them.
        calls_per_sample: Calls that share one reading of the clock.
        first_input: Where in the order of inputs the block begins, the same for all participants.
    """

    variant: int
    samples: int
    calls_per_sample: int
    first_input: int


class Block(Record):
    """One block as it was run.

    Attributes:
        start_ns: Since the process began.
        run_in_ns: Of the one call before the samples, which counts for nothing: it finds cold caches.
        wall_ns: Of each sample, a single call's share of it.
        cpu_ns: CPU time of the process over the same calls.
        disturbances: What the system's own counters say against this block, each with its figure; never
            judged by the latencies.
        counters: What the system counted over the block.
    """

    variant: int
    calls_per_sample: int
    first_input: int
    start_ns: int
    run_in_ns: int = 0
    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    disturbances: tuple[str, ...] = ()
    counters: Mapping[str, float] = {}


class PlacedBlock(Block):
    """A block with its place in the repeat.

    Attributes:
        position: In the order of its round.
        is_dirty: Whether any block of its round was disturbed.
        core_to_core_ns: Time that data took from one CPU to the next before the round; None if not read.
    """

    round: int
    position: int
    is_dirty: bool
    core_to_core_ns: int | None = None


class Finished(Record):
    """What a participant says at its end.

    Attributes:
        memory_bytes: Peak memory at each mark.
        energy_uj: Energy of the package over the blocks, where the machine tells it; None elsewhere.
        facts: What the runtime says of itself now.
        system: Load and pressure of the machine now.
    """

    memory_bytes: Mapping[str, int] = {}
    energy_uj: int | None = None
    facts: Mapping[str, str] = {}
    system: Mapping[str, str] = {}


class Part(Record):
    """One participant's share of one repeat."""

    name: str
    started: Started
    blocks: tuple[PlacedBlock, ...]
    finished: Finished


class Failure(Record):
    """What ended a participant."""

    reason: str
    detail: str = ""


class Repeat(Record):
    """One fresh process of every participant.

    Attributes:
        is_resident: Whether all were in memory at once, so that rounds interleave; else one after the other.
        failures: What ended a participant, by its name; it has no part then.
    """

    number: int
    is_resident: bool
    parts: tuple[Part, ...]
    failures: Mapping[str, Failure] = {}

    @property
    def rounds(self) -> dict[int, bool]:
        """Each round's number, and whether a block of it was disturbed."""
        dirty: dict[int, bool] = {}
        for part in self.parts:
            for block in part.blocks:
                dirty[block.round] = dirty.get(block.round, False) or block.is_dirty
        return dirty

    @property
    def core_to_core_by_round_ns(self) -> dict[int, int]:
        """Each round's number, and how long data took from one CPU to the next; those that were read."""
        found: dict[int, int] = {}
        for part in self.parts:
            for block in part.blocks:
                if block.core_to_core_ns is not None:
                    found[block.round] = max(found.get(block.round, 0), block.core_to_core_ns)
        return found


class Unmet(Record):
    """An interval that is not within its target when the heat ends.

    Attributes:
        half_width: Relative to the value; None where the samples give no interval.
    """

    participant: str
    variant: int
    metric: str
    half_width: float | None
    target: float


class Heat(Record):
    """Candidates that were measured together, in interleaved rounds.

    Attributes:
        reference: Name of the participant to which the others are compared.
        stopped: Why no further repeat was run.
        failures: What ended a participant, by its name.
    """

    reference: str
    repeats: tuple[Repeat, ...]
    stopped: Stop = "repeats"
    unmet: tuple[Unmet, ...] = ()
    failures: Mapping[str, Failure] = {}
