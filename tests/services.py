"""Real servers on loopback for tests: PostgreSQL in a folder of its own, MLflow's server before any store."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.1"
START_S = 120.0
# Debian keeps them out of the path.
DEBIAN_BINARIES = "/usr/lib/postgresql"


class PostgresServer:
    """A PostgreSQL server in a folder; its databases are for tests and live as long as it does.

    Args:
        folder: Where it keeps its data, and its log.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the data folder and start the server.

        Raises:
            RuntimeError: PostgreSQL is not installed, or does not come up.
        """
        data = self._folder / "data"
        # The server refuses to run as root; the account comes with Debian's package.
        self._account = "postgres" if os.geteuid() == 0 else None
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._account:
            shutil.chown(self._folder, self._account)
            _let_others_pass(self._folder)
        self._run(
            _binary("initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"
        )
        options = ("-h", HOST, "-p", str(self.port), "-k", str(self._folder), "-F", "-N", "200")
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [_binary("postgres"), "-D", str(data), *options],
                stdout=log,
                stderr=log,
                user=self._account,
                cwd=self._folder,
            )
        wait_until_open(self.port, self._process, self._folder / "log")

    def make_database(self) -> str:
        """Make an empty database; returns its URI."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        deadline = time.monotonic() + START_S
        command = [_binary("createdb"), "-h", HOST, "-p", str(self.port), "-U", "postgres", name]
        while (done := subprocess.run(command, capture_output=True, check=False)).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(done.stderr.decode())
            time.sleep(0.1)  # the port is open before the server takes work
        return f"postgresql://postgres@{HOST}:{self.port}/{name}"

    def stop(self) -> None:
        """Stop the server, whatever it is doing."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.send_signal(3)  # SIGQUIT: at once, its children too
                self._process.wait(20)

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, check=False, user=self._account, cwd=self._folder)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.decode()}")


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
    raise RuntimeError(f"nobody listens on {port}:\n{log.read_text(errors='replace')[-2000:]}")


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
    raise RuntimeError(f"the server is not healthy:\n{log.read_text(errors='replace')[-2000:]}")


def _binary(name: str) -> str:
    newest = sorted(Path(DEBIAN_BINARIES).glob(f"*/bin/{name}"), reverse=True)
    found = str(newest[0]) if newest else shutil.which(name)
    if not found:
        raise RuntimeError(f"{name} is not installed; Debian's package is called postgresql")
    return found


def _let_others_pass(folder: Path) -> None:
    """Temporary folders of tests are closed to other accounts; the server's must be reachable."""
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
