"""The command line, as a person or a script runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path


def bakeoff(folder: Path, *words: str, without: Collection[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; a traceback is a fault of whatever it was asked.

    Args:
        folder: Where.
        words: Of the command.
        without: Variables that it must not see.
    """
    environment = {name: text for name, text in os.environ.items() if name not in without}
    done = subprocess.run(
        [sys.executable, "-m", "bakeoff", *words],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment | {"NO_COLOR": "1"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done
