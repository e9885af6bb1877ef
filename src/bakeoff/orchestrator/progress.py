"""Progress of a stage, and warnings of what is skipped, failed or waited for.

Progress is chatter: the library shows none, the command line draws bars. A warning always appears: it goes to
the ``bakeoff`` logger, which prints it on stderr by default, in scripts and notebooks alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from bakeoff.uris import mask_password

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
    """Warn of what is skipped, failed or waited for, through the ``bakeoff`` logger."""
    logging.getLogger("bakeoff").warning("%s", mask_password(line))


class Quiet:
    """Progress that shows no chatter; warnings do not pass through it."""

    def say(self, line: str) -> None:
        """Show nothing."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Advance]:
        """Show nothing."""
        del what, total
        yield lambda _: None
