"""Cells: lists as JSON and pandas write them are lists; everything else stays text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.measure.tasks.cells import read_list

ITEMS = st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.integers() | st.booleans()
LISTS = st.lists(ITEMS | st.lists(ITEMS) | st.dictionaries(st.text("abc'\"\\"), ITEMS))


@given(LISTS)
def test_a_list_written_as_text_is_the_list_again(value: list[Any]) -> None:
    assert read_list(json.dumps(value)) == value
    assert read_list(repr(value)) == value
    assert read_list(value) is value


def test_tuples_of_python_are_lists() -> None:
    assert read_list("[(0, 3, 'PER'), (4, 5, 'LOC')]") == [[0, 3, "PER"], [4, 5, "LOC"]]


@pytest.mark.parametrize(
    "cell",
    [
        "['Ada' 'codes']",  # NumPy: Python would join the two words
        "[['a' 'b']]",
        "[0 1 2]",
        "[__import__('os')]",
        "[laughs]",
        "[1] shows",
        r"['\ud800']",
        r'["\ud800"]',
        "[" * 100_000,
        "['a'," * 100_000,
        "",
    ],
)
def test_other_texts_stay_as_they_are(cell: str) -> None:
    assert read_list(cell) == cell
