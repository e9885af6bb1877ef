"""A worker that ends in the way that its environment names: python -m misbehaving FOLDER PARENT_PID.

A fork server imports it, and calls ``main`` in a fork.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def write_outcome(folder: Path, share: float) -> None:
    """Write a part of an outcome, from its begin on."""
    # Given by the test: imports of ours would take longer than all else that happens here.
    outcome = os.environ["BAKEOFF_WHOLE_OUTCOME"]
    (folder / "outcome.json").write_text(outcome[: int(share * len(outcome))], encoding="utf-8")


def succeed(folder: Path) -> None:
    write_outcome(folder, 1)


def segfault(folder: Path) -> None:
    ctypes.string_at(0)


def kill_itself(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop_itself(folder: Path) -> None:
    say_that_it_hangs(folder)
    os.kill(os.getpid(), signal.SIGSTOP)


def exhaust_memory(folder: Path) -> None:
    bytearray(2**60)


def say_nothing(folder: Path) -> None:
    """End as if all were well."""


def write_half(folder: Path) -> None:
    write_outcome(folder, 0.5)


def exit_by_number(folder: Path) -> None:
    sys.exit(7)


def say_that_it_hangs(folder: Path) -> None:
    (folder / "hangs").touch()


def hang(folder: Path) -> None:
    time.sleep(3600)


def hang_deaf(folder: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say_that_it_hangs(folder)
    time.sleep(3600)


def be_noisy(folder: Path) -> None:
    for descriptor in (1, 2):
        for _ in range(100):
            os.write(descriptor, b"\xff\x1b[31mnoise\0" * 1000)
    succeed(folder)


def leave_grandchild(folder: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    (folder / "grandchild").write_text(str(child.pid), encoding="utf-8")
    succeed(folder)


def hang_with_grandchild(folder: Path) -> None:
    leave_grandchild(folder)
    hang_deaf(folder)


def main(words: list[str]) -> int:
    """Misbehave in the folder of an order."""
    globals()[os.environ["BAKEOFF_MISBEHAVIOUR"]](Path(words[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
