"""Hand-over: what it reads on this machine, and how it leaves the thread."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest

from bakeoff.measure.handover import make_handover_probe
from bakeoff.measure.stability import find_far

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot choose a CPU")


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one CPU")
def test_it_reads_a_time_and_leaves_the_thread_where_it_may_run() -> None:
    home = os.sched_getaffinity(0)
    read_ns = make_handover_probe(None)()
    assert read_ns is not None
    assert read_ns > 0
    assert os.sched_getaffinity(0) == home


def test_one_cpu_hands_nothing_over() -> None:
    assert make_handover_probe(sorted(os.sched_getaffinity(0))[:1])() is None


def test_a_cpu_that_is_gone_is_no_reading_and_leaves_the_thread_where_it_may_run() -> None:
    home = os.sched_getaffinity(0)
    gone = 1 + max(home) + 4096
    assert make_handover_probe([min(home), gone])() is None
    assert os.sched_getaffinity(0) == home


def test_of_many_cpus_eight_at_most_are_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    visited: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: visited.append(set(cpus)))
    make_handover_probe(range(100))()
    hops = visited[1:-1]
    assert len(set(map(frozenset, hops))) == 8
    assert len(hops) == 8 * 4
    assert all(before != after for before, after in pairwise(hops))


def test_hand_overs_are_far_where_they_stand_out_from_the_quickest() -> None:
    near = 4_000 * (1 + 0.05 * np.sin(np.arange(40)))
    assert not find_far(near).any()
    assert find_far(np.append(near, [11_000.0, 11_500.0])).tolist() == [False] * 40 + [True] * 2
    assert not find_far(np.empty(0)).any()
