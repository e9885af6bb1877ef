"""Progress of a stage; the library is quiet, the command line draws bars.

A message that must always appear, such as that a command waits, is a warning of the ``bakeoff`` logger. A
notebook shows it by default, and the command line prints it on stderr.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[str], None]


class Progress(Protocol):
    """Lines and bars that show progress."""

    def say(self, line: str) -> None:
        """Show one line."""
        ...

    def track(self, what: str, total: int) -> AbstractContextManager[Advance]:
        """Show a bar; call the yielded function with the name of each step that ends."""
        ...


def warn(line: str) -> None:
    """Log one line as a warning of the library."""
    logging.getLogger("bakeoff").warning("%s", line)


class Quiet:
    """Progress that shows nothing."""

    def say(self, line: str) -> None:
        """Show nothing."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Advance]:
        """Show nothing."""
        del what, total
        yield lambda _: None
