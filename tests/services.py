"""Real servers on loopback for tests: PostgreSQL in a folder of its own, MLflow's server before any store."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.1"
START_S = 300.0
# Debian keeps them out of the path.
DEBIAN_BINARIES = "/usr/lib/postgresql"


class PostgresServer:
    """A PostgreSQL server with a folder of its own; its databases are for tests and end with it."""

    def __init__(self) -> None:
        self.port = 0
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the data folder and start the server.

        Raises:
            RuntimeError: PostgreSQL is not installed, or does not come up.
        """
        # Not below pytest's folder, which every new run of pytest closes to other accounts.
        self._folder = folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
        # The server refuses to run as root; the account comes with Debian's package.
        account = "postgres" if os.geteuid() == 0 else None
        if account:
            shutil.chown(folder, account)
        data = str(folder / "data")
        command = [_binary("initdb"), "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
        done = subprocess.run(command, capture_output=True, check=False, user=account, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.decode()}")
        self.port = free_port()  # only now: another may take it while the folder is made
        options = ("-h", HOST, "-p", str(self.port), "-k", str(folder), "-F", "-N", "200")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [_binary("postgres"), "-D", data, *options],
                stdout=log,
                stderr=log,
                user=account,
                cwd=folder,
                start_new_session=True,  # an interrupt of the terminal is for the tests to act upon
            )
        wait_until_open(self.port, self._process, self._log)

    def make_database(self) -> str:
        """Make an empty database; returns its URI.

        Raises:
            RuntimeError: The server ended, or does not make it.
        """
        name = f"test_{uuid.uuid4().hex[:12]}"
        deadline = time.monotonic() + START_S
        command = [_binary("createdb"), "-h", HOST, "-p", str(self.port), "-U", "postgres", name]
        while (done := subprocess.run(command, capture_output=True, check=False)).returncode:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"the server ended:\n{_read_tail(self._log)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{done.stderr.decode()}\n{_read_tail(self._log)}")
            time.sleep(0.1)  # the port is open before the server takes work
        return f"postgresql://postgres@{HOST}:{self.port}/{name}"

    def stop(self) -> None:
        """Stop the server, whatever it is doing, and remove its folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.send_signal(3)  # SIGQUIT: at once, its children too
                self._process.wait(120)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        assert self._folder is not None
        return self._folder / "log"


@contextmanager
def mlflow_server(store_uri: str, folder: Path, port: int | None = None) -> Iterator[str]:
    """MLflow's own server before a store; yields its URI.

    Args:
        store_uri: Of the store behind it: a SQLite file or a database.
        folder: For artifacts and the log.
        port: To listen on; a free one if None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", store_uri, "--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    log = folder / "server.log"
    with serving(command, environment, port, log):
        _wait_until_healthy(port, log)
        yield f"http://{HOST}:{port}"


@contextmanager
def serving(command: Sequence[str], environment: Mapping[str, str], port: int, log: Path) -> Iterator[None]:
    """A server that listens on a port, with all that it starts; ended at once after the body.

    Args:
        command: That starts it, in the folder of the log.
        environment: Its variables.
        port: On which it is going to listen.
        log: For what it prints.

    Raises:
        RuntimeError: It ended, or does not listen.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=environment, cwd=log.parent, start_new_session=True
        )
    try:
        wait_until_open(port, process, log)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, nor can until the body ends."""
    with socket.socket() as held:
        held.bind((HOST, 0))
        yield int(held.getsockname()[1])


def wait_until_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until somebody listens on a port.

    Raises:
        RuntimeError: The process ended, or nobody came.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nobody listens on {port}:\n{_read_tail(log)}")


def _wait_until_healthy(port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the server is not healthy:\n{_read_tail(log)}")


def _read_tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _binary(name: str) -> str:
    newest = sorted(Path(DEBIAN_BINARIES).glob(f"*/bin/{name}"), reverse=True)
    found = str(newest[0]) if newest else shutil.which(name)
    if not found:
        raise RuntimeError(f"{name} is not installed; Debian's package is called postgresql")
    return found
