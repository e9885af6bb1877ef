"""A disk that fills up under a bench: told in one line, nothing lost, and the same command goes on."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bakeoff.orchestrator import Project
from bakeoff.stores import tags
from command_line import bakeoff

NOOP = (
    "benchmark.runtimes=[{kind: noop, threads: 1}]",
    "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]",
    "benchmark.protocol.processes=3",
)
WORDS = ("bench", *(f"--set={override}" for override in NOOP))


@pytest.fixture
def disk(project_folder: Path) -> Iterator[Path]:
    """A file system of its own, in memory, where the project keeps its results; they are gone."""
    place = project_folder / "results"
    shutil.rmtree(place)
    place.mkdir()
    if _mount("tmpfs", str(place)):
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _mount(*words: str) -> int:
    return subprocess.run(["mount", "-t", "tmpfs", *words], capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    "limit", ["size=8k", "size=24k", "size=64k", "nr_inodes=4", "nr_inodes=8", "nr_inodes=12"]
)
def test_a_disk_that_is_full_is_told_and_the_next_bench_goes_on(
    project_folder: Path, disk: Path, reopen: Callable[..., Project], limit: str
) -> None:
    assert not _mount("-o", f"remount,{limit}", "tmpfs", str(disk))
    failed = bakeoff(project_folder, *WORDS)
    assert failed.returncode == 5, failed.stderr
    assert "No space left on device" in failed.stderr
    assert "free some space there, then repeat the command" in failed.stderr
    assert not _mount("-o", "remount,size=100m,nr_inodes=0", "tmpfs", str(disk))
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
