"""Inputs: in which order texts are fed, and how they become batches.

All candidates see the same order in a generation. Candidates of unlike speed take blocks of unlike length
from it, so every stretch of the order must hold the same mix of lengths, or the mix would pass for a
difference.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

N_STRATA = 5


def balance_order(lengths: Sequence[int], seed: str) -> list[int]:
    """An order of the texts in which any five in a row come from the five fifths of the lengths.

    Stratified sampling: each fifth is shuffled, then one of each is taken in turn.

    Args:
        lengths: Tokens of each text.
        seed: Of the shuffling.
    """
    shuffler = random.Random(seed)  # noqa: S311 - an order, not a secret
    by_length = sorted(range(len(lengths)), key=lambda text: (lengths[text], text))
    strata = [
        by_length[part * len(lengths) // N_STRATA : (part + 1) * len(lengths) // N_STRATA]
        for part in range(N_STRATA)
    ]
    for stratum in strata:
        shuffler.shuffle(stratum)
    order: list[int] = []
    while any(strata):
        turn = [stratum.pop() for stratum in strata if stratum]
        shuffler.shuffle(turn)
        order += turn
    return order


def cut_batches(order: Sequence[int], size: int) -> list[list[int]]:
    """Batches of one size in the order of the texts; the last one is filled up from the beginning."""
    filled = list(order)
    while len(filled) < size or len(filled) % size:
        filled += order[: -len(filled) % size or size]
    return [filled[start : start + size] for start in range(0, len(filled), size)]
