"""What every test needs: a machine lock of its own, so that no test waits for another one's bench."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bakeoff.run.machine import LOCK_VARIABLE


@pytest.fixture(scope="session", autouse=True)
def machine_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lock of the machine that the tests of this process play."""
    path = tmp_path_factory.mktemp("machine") / "lock"
    before = os.environ.get(LOCK_VARIABLE)
    os.environ[LOCK_VARIABLE] = str(path)
    yield path
    if before is None:
        del os.environ[LOCK_VARIABLE]
    else:
        os.environ[LOCK_VARIABLE] = before
