"""The library speaks: what is skipped or failed is on stderr by default, once, in scripts and commands."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.disk.holder import Holder
from bakeoff.orchestrator import Project, bench, plan, sync
from command_line import bakeoff

SCRIPT = """
import sys
from pathlib import Path
from bakeoff import benchmark_champions, open_project, select_champions

project = open_project(Path(sys.argv[1]), ["benchmark.runtimes=[{kind: noop}]"])
selection = select_champions(project)
print(benchmark_champions(selection, project))
"""


def lose_checkpoint(project_folder: Path) -> None:
    shutil.rmtree(project_folder / ".cache" / "checkpoints")
    shutil.rmtree(project_folder / "mlartifacts")


@pytest.mark.slow
def test_a_script_sees_each_warning_without_setting_up_any_logging(project_folder: Path) -> None:
    lose_checkpoint(project_folder)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(project_folder / "config")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    (warning,) = [line for line in lines if line.startswith("tiny: skipped, since it has no checkpoint: ")]
    assert "bakeoff.errors.NothingMeasuredError: no champion was measured" in lines
    assert f"  {warning}" in lines


def test_the_command_line_prints_a_failure_once_also_with_quiet(project_folder: Path) -> None:
    lose_checkpoint(project_folder)
    noop = ("--set", "benchmark.runtimes=[{kind: noop}]")
    for quiet in ((), ("--quiet",)):
        done = bakeoff(project_folder, "bench", *quiet, *noop)
        failed = [line for line in done.stderr.splitlines() if ": failed: " in line]
        assert failed
        assert len(set(failed)) == len(failed)
        assert all(line.startswith("warning: tiny × noop × ") for line in failed)


@pytest.mark.parametrize("act", [bench, sync])
def test_a_wait_for_another_process_names_it_and_since_when(
    reopen: Callable[..., Project], act: Callable[[Project], object], caplog: pytest.LogCaptureFixture
) -> None:
    project = reopen()
    lock = project.results.lock_path
    program = (
        "import sys; from pathlib import Path; from bakeoff.disk import durable\n"
        "with durable.exclusive(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        threading.Timer(0.5, holder.kill).start()
        act(project)
    (line,) = [each for each in caplog.messages if "waiting" in each]
    what = "waiting for another process that measures in this project"
    assert line.startswith(f"{what}: pid {holder.pid} (`python -c`) has held it since ")


def test_a_backbone_without_champion_is_warned_of_once_a_project(
    reopen: Callable[..., Project], caplog: pytest.LogCaptureFixture
) -> None:
    project = reopen("hpo.backbones.ghost={}")
    plan(project)
    plan(project)
    (line,) = [each for each in caplog.messages if "ghost" in each]
    assert line.startswith("ghost: skipped, since it has no champion: ")
    plan(reopen("hpo.backbones.ghost={}"))
    assert caplog.messages.count(line) == 2


def test_a_holder_describes_itself() -> None:
    holder = Holder.of_this_process()
    assert holder.describe(holder.since_s + 90).endswith("(1 min)")
