"""Holder of a lock: the command that others wait for, as it describes itself in a file."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from bakeoff.disk.inputs import read_regular
from bakeoff.record import Record

_MOST_BYTES = 4096
_MOST_CHARS = 80


class Holder(Record):
    """The command that holds the lock, as it described itself in the lock file.

    Attributes:
        since_s: Time at which it got the lock, in s since the Unix epoch.
    """

    pid: Annotated[int, Field(gt=0)]
    command: str
    since_s: Annotated[float, Field(gt=0, lt=1e11)]

    @classmethod
    def of_this_process(cls) -> Holder:
        """Describe this process as a holder from now on."""
        return cls(pid=os.getpid(), command=_name_command(), since_s=time.time())

    def describe(self, now_s: float) -> str:
        """Describe the process, its command and how long it has held the lock.

        Args:
            now_s: Time now, in s since the Unix epoch.
        """
        shown = "".join(each for each in self.command if each.isprintable() and each != "`")[:_MOST_CHARS]
        at = time.strftime("%H:%M:%S", time.localtime(self.since_s))
        minutes, seconds = divmod(max(0, int(now_s - self.since_s)), 60)
        hours, minutes = divmod(minutes, 60)
        lasted = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds} s"
        return f"pid {self.pid} (`{shown}`) has held it since {at} ({lasted})"


def find_holder(path: Path) -> Holder | None:
    """Read the holder of a lock from a file; None if that names no process that can hold it.

    Any account may have written there, and a killed command leaves its text behind.
    """
    import psutil

    try:
        holder = Holder.model_validate_json(read_regular(path, _MOST_BYTES, follows_links=False))
        began_s = psutil.Process(holder.pid).create_time()
    except (OSError, ValidationError, psutil.Error, OverflowError):
        return None
    # A process that began later reuses the number of a dead one.
    return holder if began_s <= holder.since_s + 1 else None


def _name_command() -> str:
    """Return the program and its first argument; more could reveal secrets to other accounts."""
    program = Path(sys.argv[0] if sys.argv else "") if sys.argv[:1] != ["-c"] else Path("python -c")
    name = program.parent.name if program.name == "__main__.py" else program.name
    return " ".join([name or "python", *(word for word in sys.argv[1:2] if word.isidentifier())])
