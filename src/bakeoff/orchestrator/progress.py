"""How a stage tells what it is doing; the library is quiet, the command line draws bars.

What a person must hear in any case, such as that a command waits, is a warning of the ``bakeoff`` logger. A
notebook shows it without being asked to, and the command line prints it as a line on stderr.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[str], None]


class Progress(Protocol):
    """Lines and bars for a person who waits."""

    def say(self, line: str) -> None:
        """Tell one thing."""
        ...

    def track(self, what: str, total: int) -> AbstractContextManager[Advance]:
        """Show a bar; the function that is yielded names the step that ended and moves the bar by one."""
        ...


def warn(line: str) -> None:
    """Log one line as a warning of the library."""
    logging.getLogger("bakeoff").warning("%s", line)


class Quiet:
    """Tells nothing."""

    def say(self, line: str) -> None:
        """Tell nothing."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Advance]:
        """Show nothing."""
        del what, total
        yield lambda _: None
