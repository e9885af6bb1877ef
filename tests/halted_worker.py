"""A worker that starts a child, says that it has come so far, and goes no further: FOLDER PARENT_PID."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

HERE = "halted"
PATIENCE_S = 600.0


def main(words: list[str]) -> int:
    """Halt in the folder of an order."""
    subprocess.Popen(["sleep", str(PATIENCE_S)])
    Path(words[0], HERE).touch()
    time.sleep(PATIENCE_S)
    return 1
