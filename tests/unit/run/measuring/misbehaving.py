"""A worker that ends in the way that its environment names: python -m misbehaving FOLDER PARENT_PID."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(sys.argv[1])


def write_outcome(share: float) -> None:
    """Write a part of an outcome, from its begin on."""
    # Imported here: who writes none shall be at what it does at once, since tests do not wait for long.
    from bakeoff.core.job import Environment, Hardware
    from bakeoff.run.measuring.orders import OUTCOME_FILE, Done

    hardware = Hardware(machine="x86_64", cpu_model="Example CPU", physical_cores=1, usable_cpus=1)
    outcome = Done(environment=Environment(hardware=hardware, libraries={})).model_dump_json()
    (FOLDER / OUTCOME_FILE).write_text(outcome[: int(share * len(outcome))], encoding="utf-8")


def succeed() -> None:
    write_outcome(1)


def segfault() -> None:
    ctypes.string_at(0)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop_itself() -> None:
    say_that_it_hangs()
    os.kill(os.getpid(), signal.SIGSTOP)


def exhaust_memory() -> None:
    bytearray(2**60)


def say_nothing() -> None:
    """End as if all were well."""


def write_half() -> None:
    write_outcome(0.5)


def exit_by_number() -> None:
    sys.exit(7)


def say_that_it_hangs() -> None:
    (FOLDER / "hangs").touch()


def hang() -> None:
    time.sleep(3600)


def hang_deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say_that_it_hangs()
    time.sleep(3600)


def be_noisy() -> None:
    for descriptor in (1, 2):
        for _ in range(100):
            os.write(descriptor, b"\xff\x1b[31mnoise\0" * 1000)
    succeed()


def leave_grandchild() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    (FOLDER / "grandchild").write_text(str(child.pid), encoding="utf-8")
    succeed()


def hang_with_grandchild() -> None:
    leave_grandchild()
    hang_deaf()


globals()[os.environ["BAKEOFF_MISBEHAVIOUR"]]()
