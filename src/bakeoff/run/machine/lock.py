"""This machine: the lock under which it measures, one command at a time, and what it is called in a claim."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from bakeoff.disk import durable
from bakeoff.heartbeat import beating
from bakeoff.record import Record

LOCK_VARIABLE = "BAKEOFF_MACHINE_LOCK"
# How often a command that waits for the lock says so again.
TELL_S = 60.0
_MOST_BYTES = 4096
_MOST_CHARS = 80
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def lock_path() -> Path:
    """The lock file; batch systems give jobs a TMPDIR of their own, so that is asked last."""
    named = os.environ.get(LOCK_VARIABLE)
    if named:
        return Path(named).absolute()
    shared = Path("/tmp")  # noqa: S108 - shared by all users of the machine, as the CPU is
    return (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "bakeoff-machine.lock"


class Holder(Record):
    """The command that holds the lock, as it wrote itself into the lock file.

    Attributes:
        since_s: When it got the lock, in s since the Unix epoch.
    """

    pid: Annotated[int, Field(gt=0)]
    command: str
    since_s: Annotated[float, Field(gt=0, lt=1e11)]

    def describe(self, now_s: float) -> str:
        """Name process, command, and since when it holds the lock.

        Args:
            now_s: In s since the Unix epoch.
        """
        shown = "".join(each for each in self.command if each.isprintable() and each != "`")[:_MOST_CHARS]
        at = time.strftime("%H:%M:%S", time.localtime(self.since_s))
        minutes, seconds = divmod(max(0, int(now_s - self.since_s)), 60)
        hours, minutes = divmod(minutes, 60)
        lasted = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds} s"
        return f"pid {self.pid} (`{shown}`) has held it since {at} ({lasted})"


@contextmanager
def measuring(on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of this machine: two commands that measure at once would measure each other.

    The kernel lets it go when the holder dies, however it dies. It only has to be read to be held, so that it
    serves all accounts of the machine, whoever made it.

    Args:
        on_wait: Gets a line that names the holder, at once if another command holds the lock, and every
            minute while that lasts, then from another thread.

    Raises:
        StorageError: The lock file cannot be made or read.
    """
    path = lock_path()
    if os.name == "nt":
        with durable.exclusive(path, lambda: on_wait(describe_wait(path))):
            yield
        return
    with durable.storage_faults(path, "locking"):
        descriptor = _hold(path, lambda: on_wait(describe_wait(path)))
    me = Holder(pid=os.getpid(), command=_name_command(), since_s=time.time())
    _write(path, descriptor, me.model_dump_json())
    try:
        yield
    finally:
        _write(path, descriptor, "")
        os.close(descriptor)


def describe_wait(path: Path) -> str:
    """Say who holds the lock, as far as that is known."""
    holder = find_holder(path)
    found = holder.describe(time.time()) if holder else f"another command holds {path}"
    return f"waiting for the machine lock: {found}"


def find_holder(path: Path) -> Holder | None:
    """Read who holds the lock; None where the file names no process that can be the holder.

    Anyone may have written there, and a command that was killed leaves its text behind.
    """
    import psutil

    try:
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            holder = Holder.model_validate_json(file.read(_MOST_BYTES))
        began_s = psutil.Process(holder.pid).create_time()
    except (OSError, ValidationError, psutil.Error, OverflowError):
        return None
    # A process that began later got the number of one that is gone.
    return holder if began_s <= holder.since_s + 1 else None


def _write(path: Path, held: int, text: str) -> None:
    """Write into the lock file, for those who wait.

    An account that may not write there holds the lock all the same.

    Args:
        path: The file.
        held: The descriptor that is locked; a file that took its place is another command's.
        text: Replaces what is there.
    """
    with suppress(OSError), os.fdopen(os.open(path, os.O_WRONLY | os.O_NOFOLLOW), "wb") as file:
        if os.path.samestat(os.fstat(file.fileno()), os.fstat(held)):
            file.truncate(0)
            file.write(text.encode())


def _name_command() -> str:
    """The program and its first word: more could hold what others must not read."""
    program = Path(sys.argv[0] if sys.argv else "") if sys.argv[:1] != ["-c"] else Path("python -c")
    name = program.parent.name if program.name == "__main__.py" else program.name
    return " ".join([name or "python", *(word for word in sys.argv[1:2] if word.isidentifier())])


def _hold(path: Path, on_wait: Callable[[], None]) -> int:
    """Open the lock file and lock it; one that was removed meanwhile is no lock."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = _open_lock(path)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                with beating(on_wait, TELL_S):
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same_file(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.fchmod(descriptor, 0o644)  # whatever the umask: others must be able to read it
            return descriptor


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def identify_machine(path: Path | None = None) -> str:
    """Equal for two commands if, and only if, one kernel gives them one lock file.

    Containers on one machine share the kernel and not the file, machines that mount one disk the file and not
    the kernel: in both cases the lock of one says nothing about the other.

    Args:
        path: Of the lock; None means that of this machine.

    Raises:
        StorageError: The lock was never taken, and its file is not there.
    """
    path = path or lock_path()
    with durable.storage_faults(path, "reading"):
        found = path.stat()
    return f"{_boot()}/{found.st_dev:x}/{found.st_ino:x}"


def describe_command() -> str:
    """This command for eyes: host and process."""
    return f"{platform.node() or 'unknown host'}, process {os.getpid()}"


def _boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        import psutil

        return f"{platform.node() or 'host'}@{psutil.boot_time():.0f}".replace(" ", "-")
