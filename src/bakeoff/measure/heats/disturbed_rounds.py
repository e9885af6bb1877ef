"""One round: a block of every variant of every participant, and whether other work disturbed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bakeoff.measure.heats.records import Block, PlacedBlock
from bakeoff.measure.statistics.readings import MAX_DIRTY_SHARE
from bakeoff.measure.system.kernel_counters import judge_ticks

# Share of the wall time of all blocks of a round together.
MAX_RUN_DELAY_SHARE = 0.02


@dataclass
class Round:
    """Round in progress; a disturbance may become known some rounds later only.

    Attributes:
        blocks: Name of the participant, position in the order of the round, and the block.
        reasons: Disturbances of all its blocks together.
    """

    number: int
    core_to_core_ns: int | None
    blocks: list[tuple[str, int, Block]] = field(default_factory=list)
    is_dirty: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def wall_ns(self) -> float:
        """Time inside its blocks, in ns."""
        return sum(_wall_ns(block) for _, _, block in self.blocks)

    def place(self) -> Iterator[tuple[str, PlacedBlock]]:
        """Yield the name of the participant and each block with its place in the repeat."""
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
    """Return whether a repeat may end: enough clean rounds, twice as many in all, or most disturbed."""
    n_dirty = sum(each.is_dirty for each in rounds)
    # On a busy machine, more rounds would only select among disturbed ones.
    is_busy = len(rounds) >= wanted and n_dirty > MAX_DIRTY_SHARE * len(rounds)
    return len(rounds) - n_dirty >= wanted or len(rounds) >= 2 * wanted or is_busy


def is_disturbed(blocks: Sequence[Block]) -> bool:
    """Return whether one block of a round was disturbed, or all together waited too long for a CPU."""
    waited_ns = sum(block.counters.get("run_delay_ns", 0.0) for block in blocks)
    wall_ns = sum(_wall_ns(block) for block in blocks)
    return any(block.disturbances for block in blocks) or waited_ns > MAX_RUN_DELAY_SHARE * wall_ns


def judge_together(rounds: Sequence[Round]) -> None:
    """Judge counters that are too coarse for one block; a disturbance marks all the rounds."""
    reasons = judge_ticks([block.counters for each in rounds for _, _, block in each.blocks])
    for each in rounds if reasons else ():
        each.is_dirty = True
        each.reasons = reasons


def _wall_ns(block: Block) -> float:
    return block.counters.get("block_ns", float(sum(block.wall_ns) * block.calls_per_sample))
