"""The look of a candidate's mark, and its legend.

A backbone has a colour and an outline, a runtime a filling: nothing depends on colour alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision

SHAPES = (
    "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0 -11 0z",  # circle
    "M-5 -5h10v10h-10z",  # square
    "M0 -6.6L6 4.4H-6z",  # triangle
    "M0 -6.8L6.8 0L0 6.8L-6.8 0z",  # diamond
    "M0 6.6L6 -4.4H-6z",  # triangle on its tip
    "M-3 -6h6l4 6l-4 6h-6l-4 -6z",  # hexagon
)
FILLINGS = ("full", "open", "dotted", "barred", "upright", "crossed")


class Look(NamedTuple):
    """Number of a colour in the style sheet, an outline, a filling."""

    colour: int
    shape: str
    filling: str


class Legend(NamedTuple):
    """Looks by backbone and by runtime."""

    backbones: tuple[tuple[str, Look], ...]
    runtimes: tuple[tuple[str, Look], ...]


def choose_looks(decision: Decision) -> dict[tuple[str, str], Look]:
    """Choose the look of each backbone × runtime; the same names always look the same."""
    backbones = sorted({row.backbone for row in decision.standings})
    runtimes = sorted({row.runtime for row in decision.standings})
    return {
        (backbone, runtime): Look(
            number % len(SHAPES),
            # After the last colour the outlines shift by one: 36 backbones still look different.
            SHAPES[(number + number // len(SHAPES)) % len(SHAPES)],
            FILLINGS[other % len(FILLINGS)],
        )
        for number, backbone in enumerate(backbones)
        for other, runtime in enumerate(runtimes)
    }


def draw_legend(decision: Decision) -> Legend:
    """Name every look in the plot."""
    looks = choose_looks(decision)
    backbones = {backbone: look for (backbone, _), look in looks.items()}
    runtimes = {runtime: look for (_, runtime), look in looks.items()}
    return Legend(
        tuple((name, look._replace(filling=FILLINGS[0])) for name, look in sorted(backbones.items())),
        tuple((name, look._replace(shape=SHAPES[0])) for name, look in sorted(runtimes.items())),
    )
