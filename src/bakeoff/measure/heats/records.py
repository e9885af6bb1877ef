"""Records of a heat, all of them raw: candidates measured together in interleaved rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from bakeoff.record import Record

# ``decided``: only the leader may still win. ``documents``: more repeats would break no tie.
Stop = Literal["targets", "budget", "repeats", "decided", "documents"]


class WarmUp(Record):
    """Warm-up of one variant of a participant in one process.

    Attributes:
        first_call_ns: Time of its first call; for the first variant, the first call of the process.
        warmup_ns: Time from the first call to the end of the warm-up.
        median_ns: Median time of a call in the last blocks.
        is_steady: Whether it became steady before its time ran out.
        n_tokens: Tokens of each input, without padding.
        n_padded_tokens: Tokens of each input, with padding.
        n_documents: Documents per call.
        least_samples: Least number of samples in a block, instead of the protocol's; None keeps that one.
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
    """Participant that is loaded, warm and waiting.

    Attributes:
        at_ns: Start, in ns since the Unix epoch.
        spawn_ns: Time from the start of the process to bakeoff's first line in it.
        import_ns: Time to import the runtime's libraries. Other workers may import at the same time, at most
            one per physical core; everything below is read while no other worker runs.
        load_ns: Time from the checkpoint to a session.
        overhead_ns: Time of each sample of a call that does nothing: the instrument's own cost.
        calibration_ns: Times of the calibration loop in this process, the same work on every machine.
        tokenize_ns: Time to encode each text, one at a time.
        resident_bytes: Current memory of the process.
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
    """Request to run one block.

    Attributes:
        samples: Timed samples; one untimed call comes before them.
        calls_per_sample: Calls that share one reading of the clock.
        first_input: Position in the order of inputs where the block begins, the same for all participants.
    """

    variant: int
    samples: int
    calls_per_sample: int
    first_input: int


class Block(Record):
    """One block as it was run.

    Attributes:
        start_ns: Start of the block, since the process began.
        run_in_ns: Time of the one call before the samples, which does not count: it finds cold caches.
        wall_ns: Wall time of each sample, divided by its calls.
        cpu_ns: CPU time of the process over the same calls.
        disturbances: Disturbances that the system's counters show, each with its figure; never judged by the
            latencies.
        counters: System counters over the block.
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
    """Block with its place in the repeat.

    Attributes:
        position: Position in the order of its round.
        is_dirty: Whether any block of its round was disturbed.
        core_to_core_ns: Core-to-core latency before the round; None if not read.
    """

    round: int
    position: int
    is_dirty: bool
    core_to_core_ns: int | None = None


class Finished(Record):
    """Report of a participant at its end.

    Attributes:
        memory_bytes: Peak memory at each mark.
        energy_uj: Energy of the CPU packages over the blocks; None without a counter that can be read.
        facts: Settings in force, as the runtime reports them.
        system: Load and pressure of the machine.
    """

    memory_bytes: Mapping[str, int] = {}
    energy_uj: int | None = None
    facts: Mapping[str, str] = {}
    system: Mapping[str, str] = {}


class Part(Record):
    """One participant's part of one repeat."""

    name: str
    started: Started
    blocks: tuple[PlacedBlock, ...]
    finished: Finished


class Failure(Record):
    """Reason that a participant ended early."""

    reason: str
    detail: str = ""


class Repeat(Record):
    """One fresh process of every participant.

    Attributes:
        is_resident: Whether all were in memory at once and rounds interleaved; else they ran one by one.
        failures: Failure of each participant that failed, by name; it has no part then.
    """

    number: int
    is_resident: bool
    parts: tuple[Part, ...]
    failures: Mapping[str, Failure] = {}

    @property
    def rounds(self) -> dict[int, bool]:
        """Number of each round, and whether one of its blocks was disturbed."""
        dirty: dict[int, bool] = {}
        for part in self.parts:
            for block in part.blocks:
                dirty[block.round] = dirty.get(block.round, False) or block.is_dirty
        return dirty

    @property
    def core_to_core_by_round_ns(self) -> dict[int, int]:
        """Core-to-core latency of each round in ns, by its number, for the rounds that have one."""
        found: dict[int, int] = {}
        for part in self.parts:
            for block in part.blocks:
                if block.core_to_core_ns is not None:
                    found[block.round] = max(found.get(block.round, 0), block.core_to_core_ns)
        return found


class Unmet(Record):
    """Interval that is wider than its target when the heat ends.

    Attributes:
        half_width: Half-width relative to the value; None if the samples give no interval.
    """

    participant: str
    variant: int
    metric: str
    half_width: float | None
    target: float


class HeatLook(NamedTuple):
    """Result of a look at a heat in progress.

    Attributes:
        dropped: Names of the participants that are measured no further.
        stop: Reason that no further repeat is needed; None goes on.
    """

    dropped: frozenset[str] = frozenset()
    stop: Stop | None = None


class Heat(Record):
    """Candidates measured together in interleaved rounds.

    Attributes:
        reference: Name of the participant that the others are compared with.
        stopped: Reason that no further repeat ran.
        failures: Failure of each participant that failed, by name.
    """

    reference: str
    repeats: tuple[Repeat, ...]
    stopped: Stop = "repeats"
    unmet: tuple[Unmet, ...] = ()
    failures: Mapping[str, Failure] = {}
