"""What is made once in a run of the tests, by whichever process needs it first, and copied by all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

Make = Callable[[Path], object]


def make_once(factory: pytest.TempPathFactory, name: str, make: Make) -> Path:
    """Make a folder, unless another process of this run has; waits while another one makes it.

    Args:
        factory: Of pytest's folders.
        name: Of the folder; one name, one content.
        make: Makes the content of a folder that is there. Nobody changes it afterwards: tests take copies.

    Returns:
        The folder, at the same path for all processes.
    """
    base = factory.getbasetemp()
    # Each process of xdist has a folder of its own inside that of the run.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once" / name
    folder.parent.mkdir(exist_ok=True)
    whole = folder.with_name(f"{name}.whole")
    with FileLock(folder.with_name(f"{name}.lock")):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # the remains of a making that failed
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder
