"""The commands that the pages show, in an environment that has only the wheel.

``python tests/as_new_user.py BIN WORK [PART ...]``: BIN is the ``bin`` folder of that environment, WORK a
folder, new unless only some of PARTS are asked for. Commands run as the pages have them, with their full
protocols, each timed. It takes about 15 minutes.
``make try-wheel PYTHON=...`` makes the environment and begins.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from book import ROOT, find_commands, list_blocks, list_inputs, list_tutorial_edits, read_page
from services import serving

DECIDED = (0, 4)  # 4: it cannot tell the best apart, which a busy machine may cause
PORT = 5001  # as the examples have it
EXAMPLES = ("trainer_script", "torch_loop", "sklearn_sweep")
PARTS = ("demo", "try", "tutorial", *EXAMPLES)
REFUSED = 3  # what `promote` says to measurements of a busy machine
FORCED = "bakeoff promote --quick --force 'the machine was busy'"


class NewUser:
    """Somebody with a shell and an environment.

    Args:
        binaries: Folder of the environment's programs.
    """

    def __init__(self, binaries: Path) -> None:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}
        self._environment = kept | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}

    def type(self, folder: Path, line: str, allowed: tuple[int, ...] = (0,)) -> str:
        """Run a line of shell, show its time, and return what it printed."""
        begin_s = time.monotonic()
        done = subprocess.run(
            ["bash", "-e", "-c", line],
            cwd=folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        print(f"{time.monotonic() - begin_s:6.0f} s  {line.splitlines()[0]}", flush=True)
        if done.returncode not in allowed or "Traceback" in done.stderr:
            sys.exit(f"exit code {done.returncode}, allowed {allowed}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def serve(self, folder: Path, serve: str, ask: str) -> str:
        """Start a server, ask it, and end it."""
        with serving(["bash", "-c", serve], self._environment, PORT, folder / "serve.log"):
            return self.type(folder, ask)


def run_demo(user: NewUser, work: Path) -> None:
    """Do what ``make demo`` does after the installation."""
    shown = user.type(work, "bakeoff demo --folder demo")
    assert re.search(r"^slots .*\nintents ", shown, re.MULTILINE), shown


def follow_tutorial(user: NewUser, work: Path) -> None:
    """Follow the tutorial, with the edits that its sentences ask for."""
    edits, folder = list_tutorial_edits(), work
    for block in list_blocks(read_page("docs/tutorial.md")):
        for _, line in list_inputs(block):
            if line.startswith("pip install"):
                continue
            if line == "mkdir ship && cd ship":
                folder = work / "ship"
                folder.mkdir()
                continue
            stage = next((words[0] for words in find_commands(line)), None)
            if stage in edits:
                edits.pop(stage)(folder)
            user.type(folder, line, DECIDED if stage == "run" else (0,))
    user.type(folder, "bakeoff promote --quick", (0, 3))


def look_at_models(user: NewUser, work: Path) -> None:
    """Compare two folders, as the README does first."""
    (line,) = (
        line
        for block in list_blocks(read_page("README.md"))
        for _, line in list_inputs(block)
        if "bakeoff try" in line
    )
    folder = work / "try"
    folder.mkdir()
    named = re.findall(r"\./([\w-]+)", line)
    checkpoints = sorted(
        path.parent for path in work.glob("demo/intents/.cache/checkpoints/*/checkpoint/config.json")
    )
    for name, checkpoint in zip(named, checkpoints, strict=False):
        shutil.copytree(checkpoint, folder / name)
    shutil.copy(work / "demo/data/intents_test.jsonl", folder / "test.jsonl")
    user.type(folder, line, DECIDED)


def run_example(user: NewUser, work: Path, name: str) -> None:
    """Run an example as its README has it, up to an answer of the served model."""
    folder = Path(shutil.copytree(ROOT / "examples" / name, work / name))
    commands, serve, ask = (block.text for block in list_blocks(read_page(f"examples/{name}/README.md")))
    for line in commands.splitlines():
        if line.startswith("bakeoff promote"):
            user.type(folder, f"{line.split('#')[0]} || {{ test $? = {REFUSED} && {FORCED}; }}")
        else:
            user.type(folder, line, DECIDED if line.startswith("bakeoff run") else (0,))
    answer = user.serve(folder, serve, ask)
    assert "predictions" in answer, answer


def main() -> None:
    """Type in the commands of the parts that are asked for."""
    user, work, asked = NewUser(Path(sys.argv[1]).absolute()), Path(sys.argv[2]).absolute(), sys.argv[3:]
    work.mkdir(parents=True, exist_ok=bool(asked))
    if unknown := set(asked).difference(PARTS):
        sys.exit(f"unknown parts: {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    for part in asked or PARTS:
        if part == "demo":
            run_demo(user, work)
        elif part == "try":
            look_at_models(user, work)
        elif part == "tutorial":
            follow_tutorial(user, work)
        else:
            run_example(user, work, part)
    print("all commands ran")


if __name__ == "__main__":
    main()
