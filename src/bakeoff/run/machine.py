"""This machine: the lock under which it measures, one command at a time, and what it is called in a claim."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bakeoff import durable

LOCK_VARIABLE = "BAKEOFF_MACHINE_LOCK"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def lock_path() -> Path:
    """The lock file; batch systems give jobs a TMPDIR of their own, so that is asked last."""
    named = os.environ.get(LOCK_VARIABLE)
    if named:
        return Path(named).absolute()
    shared = Path("/tmp")  # noqa: S108 - shared by all users of the machine, as the CPU is
    return (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "bakeoff-machine.lock"


@contextmanager
def measuring(on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of this machine: two commands that measure at once would measure each other.

    The kernel lets it go when the holder dies, however it dies. It only has to be read to be held, so that it
    serves all accounts of the machine, whoever made it.

    Args:
        on_wait: Called once if another command holds it.

    Raises:
        StorageError: The lock file cannot be made or read.
    """
    path = lock_path()
    if os.name == "nt":
        with durable.exclusive(path, on_wait):
            yield
        return
    with durable.storage_faults(path, "locking"):
        descriptor = _hold(path, on_wait)
    try:
        yield
    finally:
        os.close(descriptor)


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
                on_wait = _say_nothing
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


def _say_nothing() -> None:
    """Whoever waits was told so."""


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
