"""One round: a block of every variant of every participant, and whether other work disturbed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bakeoff.measure.heats.records import Block, PlacedBlock
from bakeoff.measure.statistics.readings import MAX_DIRTY_SHARE
from bakeoff.measure.system.kernel_counters import judge_ticks

# Of all blocks of a round together.
MAX_RUN_DELAY_SHARE = 0.02


@dataclass
class Round:
    """One round on its way; whether it was disturbed may be known some rounds later only.

    Attributes:
        blocks: Name of the participant, position in the order of the round, and the block.
        reasons: What speaks against all its blocks together.
    """

    number: int
    core_to_core_ns: int | None
    blocks: list[tuple[str, int, Block]] = field(default_factory=list)
    is_dirty: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def wall_ns(self) -> float:
        """Time inside its blocks."""
        return sum(_wall_ns(block) for _, _, block in self.blocks)

    def place(self) -> Iterator[tuple[str, PlacedBlock]]:
        """Each block with its place in the repeat, and whose it is."""
        for name, position, block in self.blocks:
            placed = PlacedBlock(
                **block.model_dump() | {"disturbances": (*block.disturbances, *self.reasons)},
                round=self.number,
                position=position,
                is_dirty=self.is_dirty,
                core_to_core_ns=self.core_to_core_ns,
            )
            yield name, placed


def are_enough(rounds: Sequence[Round], wanted: int) -> bool:
    """Whether a repeat may end: enough clean rounds, or twice as many in all, or most are disturbed."""
    n_dirty = sum(each.is_dirty for each in rounds)
    # On a busy machine repeating would only choose among disturbed rounds.
    is_busy = len(rounds) >= wanted and n_dirty > MAX_DIRTY_SHARE * len(rounds)
    return len(rounds) - n_dirty >= wanted or len(rounds) >= 2 * wanted or is_busy


def is_disturbed(blocks: Sequence[Block]) -> bool:
    """Whether a block of a round was disturbed by itself, or all together waited too long for a CPU."""
    waited_ns = sum(block.counters.get("run_delay_ns", 0.0) for block in blocks)
    wall_ns = sum(_wall_ns(block) for block in blocks)
    return any(block.disturbances for block in blocks) or waited_ns > MAX_RUN_DELAY_SHARE * wall_ns


def judge_together(rounds: Sequence[Round]) -> None:
    """Judge what the system counts too coarsely for one block; it speaks against all rounds that it is of."""
    reasons = judge_ticks([block.counters for each in rounds for _, _, block in each.blocks])
    for each in rounds if reasons else ():
        each.is_dirty = True
        each.reasons = reasons


def _wall_ns(block: Block) -> float:
    return block.counters.get("block_ns", float(sum(block.wall_ns) * block.calls_per_sample))
