"""The lock that lets one command at a time measure on this machine, and the machine's name in a claim."""

from __future__ import annotations

import os
import platform
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bakeoff.disk import durable
from bakeoff.disk.holder import Holder, find_holder
from bakeoff.heartbeat import beating

LOCK_VARIABLE = "BAKEOFF_MACHINE_LOCK"
# Interval at which a command that waits for the lock reports again.
TELL_S = 60.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def lock_path() -> Path:
    """Return the path of the lock file; TMPDIR comes last, since batch systems give each job its own."""
    named = os.environ.get(LOCK_VARIABLE)
    if named:
        return Path(named).absolute()
    shared = Path("/tmp")  # noqa: S108 - shared by all users of the machine, as the CPU is
    return (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "bakeoff-machine.lock"


@contextmanager
def measuring(on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of this machine: two commands that measure at once would measure each other.

    The kernel releases it however the holder dies. Reading the file suffices to hold it, so every account of
    the machine can use it.

    Args:
        on_wait: Gets a line that names another holder, at once and then every minute. The later calls come
            from another thread.
    """
    path = lock_path()
    if os.name == "nt":
        with durable.exclusive(path, lambda _: on_wait(describe_wait(path))):
            yield
        return
    with durable.storage_faults(path, "locking"):
        descriptor = _hold(path, lambda: on_wait(describe_wait(path)))
    _write(path, descriptor, Holder.of_this_process().model_dump_json())
    try:
        yield
    finally:
        _write(path, descriptor, "")
        os.close(descriptor)


def describe_wait(path: Path) -> str:
    """Describe the holder of the lock, as far as it is known."""
    holder = find_holder(path)
    found = holder.describe(time.time()) if holder else f"another command holds {path}"
    return f"waiting for the machine lock: {found}"


def _write(path: Path, held: int, text: str) -> None:
    """Write into the lock file for the commands that wait; holding the lock needs no right to write.

    Args:
        path: The lock file.
        held: The locked descriptor; another file at this path belongs to another command.
        text: New content.
    """
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with suppress(OSError), os.fdopen(os.open(path, flags), "wb") as file:
        found = os.fstat(file.fileno())
        # A hard link would be a second name of somebody's file.
        if os.path.samestat(found, os.fstat(held)) and found.st_nlink == 1:
            file.truncate(0)
            file.write(text.encode())


def _hold(path: Path, on_wait: Callable[[], None]) -> int:
    """Open the lock file and lock it; try again if the file was removed meanwhile."""
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
            return _open_regular(path)
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.fchmod(descriptor, 0o644)  # despite any umask: other accounts must be able to read it
            return descriptor


def _open_regular(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(f"something else than a file lies there; remove it, or set {LOCK_VARIABLE}")


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def identify_machine(path: Path | None = None) -> str:
    """Return a name that two commands share if, and only if, one kernel gives them one lock file.

    Containers on one machine share the kernel but not the file. Machines that mount one disk share the file
    but not the kernel. In both cases the lock of one says nothing about the other.

    Args:
        path: The lock file; None means that of this machine.

    Raises:
        StorageError: The lock file is missing, since no command ever took the lock.
    """
    path = path or lock_path()
    with durable.storage_faults(path, "reading"):
        found = path.stat()
    return f"{_boot()}/{found.st_dev:x}/{found.st_ino:x}"


def describe_command() -> str:
    """Describe this command to readers: host, process and the time of this call."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return f"{platform.node() or 'unknown host'}, process {os.getpid()}, since {now}"


def _boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        import psutil

        return f"{platform.node() or 'host'}@{psutil.boot_time():.0f}".replace(" ", "-")
