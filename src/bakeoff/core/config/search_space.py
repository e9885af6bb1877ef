"""Settings of hyper-parameters: where each is searched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bakeoff.record import Record

Scalar = bool | int | float | str


class FloatRange(Record):
    """Float hyper-parameter between two bounds.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Whether to search on a log scale.
    """

    kind: Literal["float"]
    low: float
    high: float
    log: bool = False


class IntRange(Record):
    """Whole-number hyper-parameter between two bounds, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Whether to search on a log scale.
    """

    kind: Literal["int"]
    low: int
    high: int
    log: bool = False


class Choice(Record):
    """Hyper-parameter from a list.

    Attributes:
        choices: Values to choose from.
    """

    kind: Literal["choice"]
    choices: Annotated[tuple[Scalar, ...], Field(min_length=1)]


Distribution = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]
