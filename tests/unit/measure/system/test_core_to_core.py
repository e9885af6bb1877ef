"""Core-to-core latency: what it reads on this machine, and how it leaves the thread."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest

from bakeoff.measure.statistics.stability import find_far
from bakeoff.measure.system.core_to_core import make_core_to_core_probe

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot choose a CPU")


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one CPU")
def test_it_reads_a_time_and_leaves_the_thread_where_it_may_run() -> None:
    home = os.sched_getaffinity(0)
    read_ns = make_core_to_core_probe(None)()
    assert read_ns is not None
    assert read_ns > 0
    assert os.sched_getaffinity(0) == home


def test_one_cpu_hands_nothing_over() -> None:
    assert make_core_to_core_probe(sorted(os.sched_getaffinity(0))[:1])() is None


def test_a_cpu_that_is_taken_away_is_no_reading_and_leaves_the_thread_where_it_may_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, pin, pinned = os.sched_getaffinity(0), os.sched_setaffinity, []

    def lose(who: int, cpus: set[int]) -> None:
        pinned.append(set(cpus))
        if len(pinned) == 3:
            raise OSError(22, "Invalid argument")
        pin(who, cpus)

    monkeypatch.setattr(os, "sched_setaffinity", lose)
    first = min(home)
    assert make_core_to_core_probe([first, first])() is None
    assert pinned == [{first}, {first}, {first}, home]
    assert os.sched_getaffinity(0) == home


def test_a_system_that_lets_no_thread_choose_gives_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert make_core_to_core_probe([0, 1])() is None


def test_of_many_cpus_eight_at_most_are_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    visited: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: visited.append(set(cpus)))
    make_core_to_core_probe(range(100))()
    hops = visited[1:-1]
    assert len(set(map(frozenset, hops))) == 8
    assert len(hops) == 8 * 4
    assert all(before != after for before, after in pairwise(hops))


def test_hand_overs_are_far_where_they_stand_out_from_the_quickest() -> None:
    near = 4_000 * (1 + 0.05 * np.sin(np.arange(40)))
    assert not find_far(near).any()
    assert find_far(np.append(near, [11_000.0, 11_500.0])).tolist() == [False] * 40 + [True] * 2
    assert not find_far(np.empty(0)).any()
