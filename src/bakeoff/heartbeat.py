"""Heartbeat: while something else takes its time, a process says every so often that it lives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beating(beat: Callable[[], None], interval_s: float) -> Iterator[None]:
    """Call a function now and then from a thread of its own, until the body ends.

    Args:
        beat: Must not raise: one that is missed is made up for by the next.
        interval_s: Between two beats.
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
