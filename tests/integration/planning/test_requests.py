"""Requests to the tracking store do not grow with the champions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.orchestrator import Project, bench, open_project, plan, select_champions

RUNTIMES = "benchmark.runtimes=[{kind: noop, threads: 1}]"
SCENARIOS = "benchmark.scenarios=[{kind: latency, batch_sizes: [1, 8]}]"


def count_requests(folder: Path, stage: Callable[[Project], object]) -> int:
    project = open_project(folder / "config", (RUNTIMES, SCENARIOS))
    stage(project)
    return project.tracker.n_requests


@pytest.mark.slow
def test_selecting_planning_and_benching_again_cost_as_many_requests_with_50_champions_as_with_3(
    tmp_path: Path,
    make_project: Callable[..., Path],
    write_champions: Callable[..., Path],
    make_bench: Callable[[Project], Any],
) -> None:
    counts: dict[int, list[int]] = {}
    for n in (3, 50):
        folder = write_champions(tmp_path / str(n), n, make_project)
        shelf = make_bench(open_project(folder / "config", (RUNTIMES, SCENARIOS)))
        assert len(shelf.jobs) == n
        for number in range(n):
            shelf.keep_and_log(number)
        counts[n] = [count_requests(folder, stage) for stage in (select_champions, plan, bench)]
        again = bench(open_project(folder / "config", (RUNTIMES, SCENARIOS)))
        assert (len(again.plan.reused), again.measured, again.unlogged) == (n, (), 0)
    assert counts[3] == counts[50]
    select, planned, benched = counts[3]
    assert planned == benched == select + 2  # the experiment, and one query for all keys
