"""Inputs: the order of the texts, and their batches.

All candidates see the same order in a repeat. Candidates of different speed take blocks of different length
from it. So every stretch of the order must hold the same mix of lengths, or the mix would look like a
difference in speed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

# The golden ratio: steps of this size round a circle spread their points most evenly, after any number of
# steps. Source: Kronecker sequences (Kuipers and Niederreiter, Uniform Distribution of Sequences).
GOLDEN_STEP = (math.sqrt(5) - 1) / 2


def balance_order(lengths: Sequence[int], seed: str) -> list[int]:
    """Order the inputs so that every stretch, long or short, has nearly the same mix of lengths.

    The inputs, sorted by length, are visited in golden steps from a random place. A median over a part of
    them is then close to the median over all. With a random part it would jump from repeat to repeat, most of
    all if few inputs have a middle length.

    Args:
        lengths: Length of each input, in any unit.
        seed: Seed of the place, and of the order among equal lengths.
    """
    shuffler = random.Random(seed)  # noqa: S311 - an order, not a secret
    by_length = sorted(range(len(lengths)), key=lambda number: (lengths[number], shuffler.random()))
    begin = shuffler.random()
    places = [(begin + step * GOLDEN_STEP) % 1.0 for step in range(len(lengths))]
    order = [0] * len(lengths)
    for rank, step in enumerate(sorted(range(len(lengths)), key=places.__getitem__)):
        order[step] = by_length[rank]
    return order


def shuffle_order(count: int, seed: str) -> list[int]:
    """Return the numbers of so many inputs in random order, as they might arrive."""
    return random.Random(f"{seed}:chance").sample(range(count), k=count)  # noqa: S311 - an order


def draw_batches(lengths: Sequence[int], size: int, seed: str) -> list[list[int]]:
    """Draw random batches of texts, in an order in which every stretch has the same mix of work.

    Args:
        lengths: Length of each text; the longest of a batch is its work, since the others are padded to it.
        size: Texts per batch.
        seed: Seed of the draw and of the order.
    """
    batches = cut_batches(shuffle_order(len(lengths), seed), size)
    order = balance_order([max(lengths[row] for row in batch) for batch in batches], f"{seed}:batches")
    return [batches[number] for number in order]


def cut_batches(order: Sequence[int], size: int) -> list[list[int]]:
    """Cut batches of one size in the order of the texts; the last one is filled up from the beginning."""
    filled = list(order)
    while len(filled) < size or len(filled) % size:
        filled += order[: -len(filled) % size or size]
    return [filled[start : start + size] for start in range(0, len(filled), size)]
