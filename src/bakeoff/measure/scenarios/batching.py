"""Inputs: in which order texts are fed, and how they become batches.

All candidates see the same order in a repeat. Candidates of unlike speed take blocks of unlike length
from it, so every stretch of the order must hold the same mix of lengths, or the mix would pass for a
difference.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

# Of all steps round a circle this one leaves its points spread most evenly, wherever one stops: the golden
# ratio, of which Kronecker sequences are made (Kuipers and Niederreiter, Uniform Distribution of Sequences).
GOLDEN_STEP = (math.sqrt(5) - 1) / 2


def balance_order(lengths: Sequence[int], seed: str) -> list[int]:
    """An order of the inputs in which every stretch, long or short, has nearly the same mix of lengths.

    Sorted by length, the inputs are visited in golden steps from a random place. A median over part of them
    is then nearly that over all; with a random part it would jump from repeat to repeat, far where
    the middle lengths are few.

    Args:
        lengths: Of each input, in any unit.
        seed: Of the place and of the order among equals.
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
    """So many inputs as they arrive by chance."""
    return random.Random(f"{seed}:chance").sample(range(count), k=count)  # noqa: S311 - an order


def draw_batches(lengths: Sequence[int], size: int, seed: str) -> list[list[int]]:
    """Batches of texts that met by chance, in an order of which every stretch has the same mix of work.

    Args:
        lengths: Of each text; the longest of a batch is its work, since the others are filled up to it.
        size: Texts a batch.
        seed: Of the drawing and of the order.
    """
    batches = cut_batches(shuffle_order(len(lengths), seed), size)
    order = balance_order([max(lengths[row] for row in batch) for batch in batches], f"{seed}:batches")
    return [batches[number] for number in order]


def cut_batches(order: Sequence[int], size: int) -> list[list[int]]:
    """Batches of one size in the order of the texts; the last one is filled up from the beginning."""
    filled = list(order)
    while len(filled) < size or len(filled) % size:
        filled += order[: -len(filled) % size or size]
    return [filled[start : start + size] for start in range(0, len(filled), size)]
