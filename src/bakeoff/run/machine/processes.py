"""Child processes of bakeoff: they start clean, are awaited without polling and never stay behind."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bakeoff.disk.durable import open_new, storage_faults
from bakeoff.run.machine import children
from bakeoff.run.machine.forked import ForkedProcess
from bakeoff.run.machine.variables import choose_variables

Child = subprocess.Popen[bytes] | ForkedProcess

STDERR_FILE = "stderr.txt"
STDOUT_FILE = "stdout.txt"
STDERR_TAIL_BYTES = 2000
GRACE_S = 2.0
LOOK_S = 0.01
# Interval of the calls to ``on_wait`` during a wait for a process.
CALL_S = 1.0
_PR_SET_PDEATHSIG = 1
CAN_FREEZE = hasattr(signal, "SIGSTOP")


def start_process(
    module: str,
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    named: Collection[str] = (),
    pass_fds: Sequence[int] = (),
    cpus: Sequence[int] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` in its own session, in a folder of its own.

    Args:
        module: Module to run.
        words: Arguments of the module.
        folder: Folder for the files with its output; it also becomes its working folder.
        environment: Variables added to those that it gets from us; thread pools must be sized before
            libraries are imported.
        named: Names of variables that it gets from us besides the usual ones.
        pass_fds: Descriptors that it inherits.
        cpus: CPUs on which it may run from its first instruction on; None means ours.
    """
    with open_outputs(folder) as (stdout, stderr), _running_on(cpus):
        return start_python(
            module,
            words,
            folder,
            environment,
            named=named,
            pass_fds=pass_fds,
            stdout=stdout,
            stderr=stderr,
        )


def start_python(
    module: str,
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    named: Collection[str],
    pass_fds: Sequence[int],
    stdout: int,
    stderr: int,
) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` isolated from the folder and the variables of our caller.

    With ``-P`` the working folder is not searched for modules: a ``random.py`` in it would run.

    Args:
        module: Module to run.
        words: Arguments of the module.
        folder: Its working folder.
        environment: Variables added to those that it gets from us.
        named: Names of variables that it gets from us besides the usual ones.
        pass_fds: Descriptors that it inherits.
        stdout: Descriptor of its output.
        stderr: Descriptor of its messages.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=variables_for(environment, named),
        start_new_session=True,
        pass_fds=pass_fds,
    )
    children.add(process.pid)
    return process


def variables_for(environment: Mapping[str, str], named: Collection[str]) -> dict[str, str]:
    """Return the variables of a child process.

    Args:
        environment: Variables added to those that it gets from us.
        named: Names of variables that it gets from us besides the usual ones.
    """
    return choose_variables(os.environ, named) | dict(environment)


@contextmanager
def open_outputs(folder: Path) -> Iterator[tuple[int, int]]:
    """Open the files for the output of a process, and yield the descriptors of stdout and stderr."""
    with ExitStack() as files:
        with storage_faults(folder, "writing"):
            stdout, stderr = (
                files.enter_context(open_new(folder / name)) for name in (STDOUT_FILE, STDERR_FILE)
            )
        yield stdout.fileno(), stderr.fileno()


@contextmanager
def _running_on(cpus: Sequence[int] | None) -> Iterator[None]:
    """Move this thread to some CPUs, since a new process inherits the CPUs of its parent's thread."""
    if cpus is None or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def thread_environment(threads: int, hash_seed: int) -> dict[str, str]:
    """Return variables that size every known thread pool and keep libraries off the network."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONHASHSEED": str(hash_seed),
    }


def wait_for(process: Child, timeout_s: float, on_wait: Callable[[], None] | None = None) -> bool:
    """Block until a process ends; return False after the time-out.

    Popen.wait(timeout) would poll and disturb measurements at the same time.

    Args:
        process: Child process.
        timeout_s: Longest wait.
        on_wait: Called about once a second meanwhile; it must be short.
    """
    if isinstance(process, subprocess.Popen) and not hasattr(os, "pidfd_open"):  # not Linux
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True
    descriptor = _open_end(process)
    try:
        if not wait_readable(descriptor, timeout_s, on_wait):
            return False
        process.wait()
        return True
    finally:
        os.close(descriptor)


def wait_for_any(ours: Sequence[Child], timeout_s: float) -> None:
    """Block until one of several processes ends, at most for some time; it may return earlier."""
    if not hasattr(os, "pidfd_open"):  # not Linux
        time.sleep(min(timeout_s, LOOK_S))
        return
    poller = select.poll()
    descriptors = [_open_end(process) for process in ours if process.returncode is None]
    try:
        for descriptor in descriptors:
            poller.register(descriptor, select.POLLIN)
        poller.poll(timeout_s * 1000)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def wait_readable(descriptor: int, timeout_s: float, on_wait: Callable[[], None] | None = None) -> bool:
    """Block until a descriptor can be read; return False after the time-out.

    Args:
        descriptor: Descriptor of a pipe or a process.
        timeout_s: Longest wait.
        on_wait: Called about once a second meanwhile; without it nothing runs here until the end.
    """
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        if poller.poll((left_s if on_wait is None else min(left_s, CALL_S)) * 1000):
            return True
        if on_wait is not None:
            on_wait()
    return False


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Stop a process with all its threads: spinning ones would slow the measured process."""
    if CAN_FREEZE:
        _signal(process, signal.SIGSTOP)


def thaw(process: subprocess.Popen[bytes]) -> None:
    """Let a stopped process continue."""
    if CAN_FREEZE:
        _signal(process, signal.SIGCONT)


def end_process(process: Child, *, grace_s: float = GRACE_S) -> None:
    """End a process and all that it started: they share one process group."""
    if grace_s > 0:
        _signal(process, signal.SIGTERM)
        wait_for(process, grace_s)
    # Also after a good end: its children may still be there.
    _signal(process, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + GRACE_S
    while _signal(process, 0) and time.monotonic() < deadline:
        time.sleep(LOOK_S)  # dying takes a moment and must not disturb the next measurement
    children.discard(process.pid)


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process with its parent: an orphan would disturb later measurements."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def describe_end(process: Child) -> str:
    """Describe the end of a process: ``killed by SIGSEGV``, ``exit code 3``."""
    code = process.returncode or 0
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def read_tail(folder: Path) -> str:
    """Return the end of a process's standard error."""
    with (folder / STDERR_FILE).open("rb") as file:
        file.seek(max(0, (folder / STDERR_FILE).stat().st_size - STDERR_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


def _open_end(process: Child) -> int:
    """Open a descriptor that can be read once a process has ended."""
    return process.open_end() if isinstance(process, ForkedProcess) else os.pidfd_open(process.pid)


def _signal(process: Child, number: int) -> bool:
    """Send a signal to a process and all that it started; return False if none of them is left."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
