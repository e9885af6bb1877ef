"""SIGINT and SIGTERM: the command cleans up, prints one line and exits with the documented code.

Cleaning up may hang, such as on a tracking store that does not answer. So a thread, which sleeps until then,
ends the command after a while in any case, with every process that it started.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import NoReturn

from bakeoff.run.machine import children

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
# Service managers kill what is still there after ten seconds or more.
GRACE_S = 7.0
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_STDERR = 2
_ending = threading.Lock()


class StopSignals:
    """The signals that stop a command.

    Attributes:
        received: The first one that arrived; None before that.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._seen: signal.Signals | None = None
        self._is_over = False

    def catch(self) -> None:
        """Let a signal raise KeyboardInterrupt in the main thread, from now on; repeated ones do nothing.

        A signal that our caller had us ignore stays ignored, as with nohup or in the background of a script.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        caught = [number for number in EXIT_CODES if signal.getsignal(number) is not signal.SIG_IGN]
        for number in caught:
            signal.signal(number, self._interrupt)
        if caught and os.name == "posix":
            # The kernel's handler writes into this pipe even while the main thread is busy outside of Python.
            receiver, sender = os.pipe()
            os.set_blocking(sender, False)
            signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
            threading.Thread(
                target=self._watch, args=(receiver,), name="bakeoff-signals", daemon=True
            ).start()

    def finish(self) -> None:
        """Let a signal end the process at once, from now on: there is nothing left to interrupt."""
        self._is_over = True
        # Only the thread has seen a signal that a library handles in our place.
        number = self.received or self._seen
        if number is not None:
            end(number)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._is_over:
            end(signal.Signals(number))
        if self.received is None:
            self.received = signal.Signals(number)
            raise KeyboardInterrupt

    def _watch(self, receiver: int) -> None:
        while (number := os.read(receiver, 1)[0]) not in EXIT_CODES:
            pass
        self._seen = signal.Signals(number)
        time.sleep(GRACE_S)
        end(self._seen)


def end(number: signal.Signals) -> NoReturn:
    """Print a line and exit at once, with all that this process started.

    An interrupt inside exec(), which some imports use, makes CPython end by the signal although it was
    caught. Exiting past that gives callers the documented code.
    """
    try:
        if _ending.acquire(
            blocking=False
        ):  # another thread, or the code that a signal interrupted, is here too
            line = f"{_WORDS[number]}; finished work is kept: run the same command again to go on\n"
            os.write(_STDERR, line.encode())
        children.kill_all()
    finally:
        os._exit(EXIT_CODES[number])
