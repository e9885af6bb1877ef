"""The command line, as a person or a script runs it."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bakeoff.cli.main import main
from bakeoff.stores.tracking import client as client_module

# Two of the three seconds of a command are its imports, and most tests do not ask about them. A server has
# done those; each command is a fork of it, with its own descriptors, variables, folder and exit code.
PRELOADED = [
    "bakeoff.cli.stages",
    "bakeoff.orchestrator",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.tracing.processor",
]


def bakeoff(folder: Path, *words: str, without: Collection[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; a traceback is a fault of whatever it was asked.

    Args:
        folder: Where.
        words: Of the command.
        without: Variables that it must not see.
    """
    environment = {name: text for name, text in os.environ.items() if name not in without}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as name:
        said = [Path(name) / "stdout", Path(name) / "stderr"]
        variables = environment | {"NO_COLOR": "1"}
        process = context.Process(
            target=_command, args=(folder, words, variables, client_module.RETRY_WAITS_S, said)
        )
        process.start()
        process.join()
        stdout, stderr = (path.read_text(encoding="utf-8") for path in said)
    assert "Traceback" not in stderr, stderr
    return subprocess.CompletedProcess(words, process.exitcode or 0, stdout, stderr)


def _command(
    folder: Path,
    words: Sequence[str],
    environment: Mapping[str, str],
    waits_s: tuple[float, ...],
    said: Sequence[Path],
) -> None:
    os.chdir(folder)
    client_module.RETRY_WAITS_S = waits_s
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(said, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8")
    sys.argv = ["bakeoff", *words]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a fork would leave without
        sys.stdout.flush()
        sys.stderr.flush()
