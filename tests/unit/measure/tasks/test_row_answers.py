"""Numbers that models give: NaN and infinity are no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bakeoff.errors import DataError
from bakeoff.measure.backends.row_runtimes import list_answers
from bakeoff.measure.tasks.row_answers import read_label, read_labels, read_number

NAMES = ("A", "B")
READERS: list[tuple[Callable[[float], Any], Callable[[Any], Any]]] = [
    (lambda value: value, lambda answer: read_number("row", answer)),
    (lambda value: [value], lambda answer: read_number("row", answer)),
    (lambda value: {"score": value}, lambda answer: read_number("row", answer)),
    (lambda value: value, lambda answer: read_label("row", answer, NAMES)),
    (lambda value: {"A": value, "B": 0.5}, lambda answer: read_label("row", answer, NAMES)),
    (lambda value: {"A": value, "B": 0.5}, lambda answer: read_labels("row", answer, NAMES)),
    (lambda value: [value, 1.0], lambda answer: read_labels("row", answer, NAMES)),
]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("write", "read"), READERS)
def test_an_answer_that_is_not_a_finite_number_is_refused(
    write: Callable[[float], Any], read: Callable[[Any], Any], value: float
) -> None:
    read(write(1.0))
    with pytest.raises(DataError):
        read(write(value))


def test_nan_in_an_array_of_answers_is_refused() -> None:
    answers = list_answers(np.array([0.5, np.nan], dtype=np.float32))
    assert read_number("row", answers[0]) == 0.5
    with pytest.raises(DataError, match="nan; expected a finite number"):
        read_number("row", answers[1])
