"""The Pareto front: the quick search gives what comparing all pairs gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import count_exceptions
from bakeoff.core.decision.pareto import find_front
from bakeoff.core.quality import Draws


def compare_all_pairs(quality: Draws, relative_latency: Draws, made: DecisionSettings) -> list[bool]:
    count, allowed = quality.shape[1], count_exceptions(made)

    def dominates(a: int, b: int) -> bool:
        as_good = (quality[:, a] >= quality[:, b]) & (relative_latency[:, a] <= relative_latency[:, b])
        better = (quality[:, a] > quality[:, b]) | (relative_latency[:, a] < relative_latency[:, b])
        return int((~(as_good & better)).sum()) <= allowed

    return [not any(dominates(a, b) for a in range(count) if a != b) for b in range(count)]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 60),
    noise=st.sampled_from([0.0, 0.01, 0.1, 1.0]),
    confidence=st.sampled_from([0.5, 0.9, 0.95]),
)
def test_the_front_is_that_of_all_pairs(seed: int, count: int, noise: float, confidence: float) -> None:
    made = DecisionSettings(resamples=200, confidence=confidence)
    generator = np.random.default_rng(seed)
    levels = generator.integers(1, 8, (2, count)) / 8
    quality = levels[0] + noise * generator.standard_normal((200, count))
    relative_latency = np.exp(levels[1] + noise * generator.standard_normal((200, count)))
    assert find_front(quality, relative_latency, made) == compare_all_pairs(quality, relative_latency, made)


@pytest.mark.parametrize("n_behind", [4, 5])
def test_dominance_bears_as_many_exceptions_as_lie_outside_one_end_of_an_interval(n_behind: int) -> None:
    made = DecisionSettings(resamples=200, confidence=0.95)  # 2.5 % of 199 is 4
    quality = np.tile([0.9, 0.8], (200, 1))
    quality[:n_behind, 0] = 0.7
    assert find_front(quality, np.ones((200, 2)), made) == [True, n_behind > 4]


def test_twins_are_both_on_the_front() -> None:
    made = DecisionSettings(resamples=100)
    assert find_front(np.ones((100, 2)), np.ones((100, 2)), made) == [True, True]
