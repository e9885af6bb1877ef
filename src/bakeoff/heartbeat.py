"""Heartbeat: a process reports at intervals that it lives while it does something else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beating(beat: Callable[[], None], interval_s: float) -> Iterator[None]:
    """Call a function at intervals from a separate thread until the body ends.

    Args:
        beat: Must not raise; the next beat makes up for a missed one.
        interval_s: Time between two beats.
    """
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(interval_s):
            beat()

    thread = threading.Thread(target=run, name="bakeoff-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
