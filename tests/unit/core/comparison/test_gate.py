"""The gate: a whole interval past the margin fails, a whole interval within it passes, nothing else does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.core.comparison.gate import gate_regression, judge_regression

REGRESSIONS = st.floats(-5, 5)
MARGINS = st.floats(0, 2)
MIRRORED = {"better": "worse", "worse": "better", "equivalent": "equivalent", "cannot tell": "cannot tell"}


@given(REGRESSIONS, REGRESSIONS, MARGINS)
def test_the_gate_says_only_what_both_ends_of_the_interval_say(a: float, b: float, margin: float) -> None:
    low, high = min(a, b), max(a, b)
    ends = {gate_regression(end, end, margin) for end in (low, high)}
    assert ends <= {"pass", "fail"}  # a loss that is known is either past the margin or not
    expected = ends.pop() if len(ends) == 1 else "cannot tell"
    assert gate_regression(low, high, margin) == expected


@given(REGRESSIONS, REGRESSIONS, REGRESSIONS, MARGINS)
def test_a_wider_interval_never_turns_one_answer_into_the_other(
    a: float, b: float, c: float, margin: float
) -> None:
    low, middle, high = sorted((a, b, c))
    narrow, wide = gate_regression(low, middle, margin), gate_regression(low, high, margin)
    assert wide in {narrow, "cannot tell"}


@given(REGRESSIONS, REGRESSIONS, MARGINS)
def test_turning_the_sides_round_mirrors_the_verdict(a: float, b: float, margin: float) -> None:
    low, high = min(a, b), max(a, b)
    assert judge_regression(-high, -low, margin) == MIRRORED[judge_regression(low, high, margin)]


@given(REGRESSIONS, REGRESSIONS, MARGINS)
def test_what_fails_is_called_worse_and_what_is_equivalent_or_better_passes(
    a: float, b: float, margin: float
) -> None:
    low, high = min(a, b), max(a, b)
    verdict, gate = judge_regression(low, high, margin), gate_regression(low, high, margin)
    assert gate != "fail" or verdict == "worse"
    assert verdict not in ("equivalent", "better") or gate == "pass"


@pytest.mark.parametrize(
    ("low", "high", "verdict", "gate"),
    [
        (0.06, 0.09, "worse", "fail"),
        (0.05, 0.09, "worse", "cannot tell"),  # touching the margin is not past it
        (0.01, 0.05, "worse", "pass"),  # certain, and within the margin
        (-0.09, -0.01, "better", "pass"),
        (-0.04, 0.04, "equivalent", "pass"),
        (-0.20, 0.04, "cannot tell", "pass"),  # whether it is better is open; worse by the margin it is not
        (-0.04, 0.06, "cannot tell", "cannot tell"),
        (0.0, 0.0, "equivalent", "pass"),
        (-math.inf, math.inf, "cannot tell", "cannot tell"),
        (math.nan, math.nan, "cannot tell", "cannot tell"),
    ],
)
def test_verdict_and_gate_at_a_margin_of_five_hundredths(
    low: float, high: float, verdict: str, gate: str
) -> None:
    assert (judge_regression(low, high, 0.05), gate_regression(low, high, 0.05)) == (verdict, gate)
