"""Inputs: one order for all, each stretch of it with the same mix of lengths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bakeoff.measure.inputs import balance_order, cut_batches

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=120)


@given(lengths=LENGTHS, seed=st.text(max_size=5))
def test_an_order_holds_every_text_once(lengths: list[int], seed: str) -> None:
    assert sorted(balance_order(lengths, seed)) == list(range(len(lengths)))


def test_any_five_in_a_row_come_from_the_five_fifths() -> None:
    lengths = [number % 97 for number in range(250)]
    by_length = sorted(range(250), key=lambda text: (lengths[text], text))
    fifth_of = {text: place // 50 for place, text in enumerate(by_length)}
    order = balance_order(lengths, "0:0")
    for start in range(0, 250, 5):
        assert sorted(fifth_of[text] for text in order[start : start + 5]) == [0, 1, 2, 3, 4]


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
