"""Inputs: one order for all, each stretch of it with the same mix of lengths."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.measure.scenarios.batching import balance_order, cut_batches, draw_batches

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=120)


@given(lengths=LENGTHS, seed=st.text(max_size=5))
def test_an_order_holds_every_text_once(lengths: list[int], seed: str) -> None:
    assert sorted(balance_order(lengths, seed)) == list(range(len(lengths)))


@given(begin=st.integers(0, 255), size=st.integers(1, 256), seed=st.text(max_size=5))
def test_every_stretch_holds_the_same_mix_of_lengths(begin: int, size: int, seed: str) -> None:
    lengths = [number * 89 % 256 for number in range(256)]  # each length once: a length is its rank
    order = balance_order(lengths, seed)
    stretch = sorted(lengths[text] for text in (order + order)[begin : begin + size])
    expected = (np.arange(size) + 0.5) / size
    worst = float(np.max(np.abs((np.array(stretch) + 0.5) / 256 - expected)))
    # Of 32 at random the worst is off by 0.24 in one case of twenty (Kolmogorov); of these never by 0.14.
    assert worst <= (1 + math.log(size)) / size


def test_a_part_of_the_inputs_has_the_median_of_all() -> None:
    """Where the middle lengths are few, a median over inputs at random jumps between those beside it."""
    lengths = [12] * 138 + [30] * 118
    for seed in range(50):
        order = balance_order(lengths, str(seed)) * 2
        blocks = [order[256 * number // 10 :][:8] for number in range(10)]  # as the rounds of a repeat
        assert np.median([lengths[text] for block in blocks for text in block]) == 12


@given(size=st.integers(2, 16), seed=st.text(max_size=5))
def test_batches_hold_texts_that_met_by_chance(size: int, seed: str) -> None:
    lengths = list(range(256))
    batches = draw_batches(lengths, size, seed)
    assert {text for batch in batches for text in batch} == set(range(256))
    longest = np.array([max(batch) for batch in batches])
    # The longest of n at random is n / (n + 1) of the way up; of an even spread 1 - 1 / (2 n).
    expected = 256 * size / (size + 1)
    error = 256 * math.sqrt(size / (size + 2)) / (size + 1) / math.sqrt(len(batches))
    assert abs(longest.mean() - expected) < 5 * error


@given(size=st.integers(1, 8), seed=st.text(max_size=5))
def test_every_stretch_of_batches_holds_the_same_mix_of_work(size: int, seed: str) -> None:
    longest = [max(batch) for batch in draw_batches(list(range(256)), size, seed)]
    ranks = np.argsort(np.argsort(longest))
    half = len(longest) // 2
    shares = (np.sort(ranks[:half]) + 0.5) / len(longest) - (np.arange(half) + 0.5) / half
    # Of 16 at random half the times the worst is above 0.2 (Kolmogorov).
    assert float(np.max(np.abs(shares))) <= (1 + math.log(half)) / half


def test_the_order_is_the_same_for_a_seed_and_another_for_another() -> None:
    lengths = list(range(100))
    assert balance_order(lengths, "0:1") == balance_order(lengths, "0:1")
    assert balance_order(lengths, "0:1") != balance_order(lengths, "0:2")


@given(n=st.integers(1, 60), size=st.integers(1, 80))
def test_batches_are_full_and_hold_every_text(n: int, size: int) -> None:
    batches = cut_batches(range(n), size)
    assert {len(batch) for batch in batches} == {size}
    assert {text for batch in batches for text in batch} == set(range(n))
    assert len(batches) == -(-n // size)
