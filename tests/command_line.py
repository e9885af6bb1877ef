"""The command line, as a person or a script runs it."""

from __future__ import annotations

import atexit
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

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
SAID = ("stdout", "stderr")


def bakeoff(folder: Path, *words: str, without: Collection[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; a traceback is a fault of whatever it was asked.

    Args:
        folder: Where.
        words: Of the command.
        without: Variables that it must not see.
    """
    return start(folder, *words, without=without).wait()


def read_document(text: str) -> dict[str, Any]:
    """Read what a command printed with ``--json``, which must be as its schema in the package says."""
    document: dict[str, Any] = json.loads(text)
    schema = files("bakeoff").joinpath("schemas", "output", f"{document['command']}.json").read_text()
    faults = [
        f"{error.json_path}: {error.message[:300]}" for error in validator_of(schema).iter_errors(document)
    ]
    assert faults == []
    return document


@functools.cache
def validator_of(schema: str) -> Draft202012Validator:
    """Return the validator of a schema, made once."""
    return Draft202012Validator(json.loads(schema))


@dataclass(frozen=True)
class Command:
    """A command that was started."""

    words: Sequence[str]
    process: BaseProcess
    said: tempfile.TemporaryDirectory[str]

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait until it has ended."""
        self.process.join()
        with self.said as name:
            stdout, stderr = (Path(name, each).read_text(encoding="utf-8") for each in SAID)
        assert "Traceback" not in stderr, stderr
        return subprocess.CompletedProcess(self.words, self.process.exitcode or 0, stdout, stderr)


def start(
    folder: Path, *words: str, without: Collection[str] = (), prepare: Callable[[], object] | None = None
) -> Command:
    """Start a command in a folder; who starts it waits for it.

    Args:
        folder: Where.
        words: Of the command.
        without: Variables that it must not see.
        prepare: Called in its process before it begins.
    """
    environment = {name: text for name, text in os.environ.items() if name not in without}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    said = tempfile.TemporaryDirectory()
    process = context.Process(
        target=_command,
        args=(
            folder,
            words,
            environment | {"NO_COLOR": "1"},
            client_module.RETRY_WAITS_S,
            [Path(said.name, each) for each in SAID],
        ),
        kwargs={"prepare": prepare},
    )
    process.start()
    return Command(words, process, said)


def _command(
    folder: Path,
    words: Sequence[str],
    environment: Mapping[str, str],
    waits_s: tuple[float, ...],
    said: Sequence[Path],
    *,
    prepare: Callable[[], object] | None,
) -> None:
    os.chdir(folder)
    client_module.RETRY_WAITS_S = waits_s
    # A shell that starts the tests in the background lets all that it starts ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.path[:] = [entry for entry in sys.path if entry]  # a command does not search its working folder
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(said, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8")
    sys.argv = ["bakeoff", *words]
    if prepare is not None:
        prepare()
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a fork would leave without
        sys.stdout.flush()
        sys.stderr.flush()
