"""Record: what every kept value promises."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bakeoff.record import Record


class Speed(Record):
    """A value with one number."""

    latency_ms: float


def test_a_record_cannot_be_changed() -> None:
    speed = Speed(latency_ms=1.5)
    with pytest.raises(ValidationError, match="frozen"):
        speed.latency_ms = 2.5  # type: ignore[misc]
    assert speed.latency_ms == 1.5


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="latency_s"):
        Speed.model_validate({"latency_ms": 1.5, "latency_s": 0.0015})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_cannot_carry_is_refused(number: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Speed(latency_ms=number)


def test_equal_records_are_one_in_a_set() -> None:
    assert len({Speed(latency_ms=1.5), Speed(latency_ms=1.5), Speed(latency_ms=2.0)}) == 2
