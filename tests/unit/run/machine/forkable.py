"""What the tests of forks let a server import, and what its forks do: main([ACTION, FILE, PARENT_PID])."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path

import numpy as np

SEEN = ["imported"]
PATIENCE_S = 300.0


def preload() -> None:
    SEEN.append("preloaded")


def start_thread() -> None:
    threading.Thread(target=time.sleep, args=(PATIENCE_S,), daemon=True).start()


def look() -> dict[str, object]:
    """What one order could see of another, and what its own environment is."""
    return {
        "seen": list(SEEN),
        "soiled": os.environ.get("SOILED"),
        "is_whole": json.loads is not None,
        "cwd": str(Path.cwd()),
        "password": os.environ.get("PASSWORD"),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "cpus": sorted(os.sched_getaffinity(0)),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgid(0),
        "numpy": float(np.random.random()),
        "random": random.random(),
        "descriptors": [str(Path(f"/proc/self/fd/{number}").readlink()) for number in (1, 2)],
    }


def soil() -> dict[str, object]:
    """Leave traces wherever a process can, after a look."""
    found = look()
    os.environ["SOILED"] = "yes"
    SEEN.append("soiled")
    os.chdir("/")
    np.random.seed(0)
    vars(json)["loads"] = None
    return found


def main(words: list[str]) -> int:
    action, path, parent_pid = words
    assert int(parent_pid) == os.getppid()
    found = globals()[action]()
    if found is not None:
        Path(path).write_text(json.dumps(found), encoding="utf-8")
    return 0


def hang() -> None:
    Path("hanging").touch()
    time.sleep(PATIENCE_S)
