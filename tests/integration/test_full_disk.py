"""A disk that fills up under a bench: told in one line, nothing lost, and the same command goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bakeoff.orchestrator import Project
from bakeoff.stores import tags
from command_line import bakeoff
from disks import enlarge, small_disk

NOOP = (
    "benchmark.runtimes=[{kind: noop, threads: 1}]",
    "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]",
    "benchmark.protocol.processes=3",
)
WORDS = ("bench", *(f"--set={override}" for override in NOOP))


@pytest.fixture
def disk(project_folder: Path, limit: str) -> Iterator[Path]:
    """A small file system of its own where the project keeps its results; they are gone."""
    place = project_folder / "results"
    shutil.rmtree(place)
    place.mkdir()
    with small_disk(place, limit):
        yield place


@pytest.mark.parametrize(
    "limit", ["size=8k", "size=24k", "size=64k", "nr_inodes=4", "nr_inodes=8", "nr_inodes=12"]
)
@pytest.mark.slow
def test_a_disk_that_is_full_is_told_and_the_next_bench_goes_on(
    project_folder: Path, disk: Path, reopen: Callable[..., Project]
) -> None:
    failed = bakeoff(project_folder, *WORDS)
    assert failed.returncode == 5, failed.stderr
    assert "No space left on device" in failed.stderr
    assert "free some space there, then repeat the command" in failed.stderr
    enlarge(disk)
    done = bakeoff(project_folder, *WORDS)
    assert done.returncode == 0, done.stderr
    project = reopen(*NOOP)
    experiment_id = project.tracker.find_experiment("benchmark") or ""
    noops = [
        run.data.tags[tags.BENCHMARK_KEY]
        for run in project.tracker.search_runs(experiment_id, {tags.STAGE: "benchmark"})
        if run.data.tags[tags.RUNTIME].startswith("noop") and run.info.status == "FINISHED"
    ]
    assert set(Counter(noops).values()) == {1}


def test_output_that_goes_to_a_full_disk_is_told_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        failed = subprocess.run(
            [sys.executable, "-m", "bakeoff", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert failed.returncode == 5
    (line,) = failed.stderr.splitlines()
    assert line.startswith("error: the output, or a file that was open in ")
    assert "No space left on device" in line
