"""A fork of a server is as good as a fresh process, and costs no import."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bakeoff.run.machine import forks, processes
from bakeoff.run.machine.forked import ForkedProcess
from living import find_survivors

HERE = Path(__file__).parent
Fork = Callable[..., ForkedProcess | None]
Look = Callable[..., dict[str, Any]]


@pytest.fixture
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server finds the module that the forks run."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in (str(HERE), *given) if path))


@pytest.fixture
def _keeping(_path: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Servers of this test alone, whatever keeps servers around it."""
    monkeypatch.setattr(forks, "_kept", forks._Kept())
    with forks.keeping_servers():
        yield


@pytest.fixture
def fork(_path: None, tmp_path: Path) -> Fork:
    """Start an action of ``forkable`` in a fork."""

    def start(action: str, **more: Any) -> ForkedProcess | None:
        environment = more.pop("environment", {"OMP_NUM_THREADS": "1"})
        words = (action, str(tmp_path / "found"))
        with processes.open_outputs(tmp_path) as outputs:
            return forks.fork("forkable", words, tmp_path, environment, outputs=outputs, **more)

    return start


@pytest.fixture
def look(fork: Fork, tmp_path: Path) -> Look:
    """Let a fork look around; return what it found."""

    def find(action: str = "look", **more: Any) -> dict[str, Any]:
        process = fork(action, **more)
        assert process is not None
        assert process.wait() == 0, processes.read_tail(tmp_path)
        found: dict[str, Any] = json.loads((tmp_path / "found").read_text(encoding="utf-8"))
        assert found["pid"] == found["group"] == process.pid
        return found

    return find


@pytest.mark.usefixtures("_keeping")
def test_nothing_of_one_order_is_seen_by_the_next(look: Look) -> None:
    first, second = look("soil"), look("look")
    assert first["parent"] == second["parent"] != os.getpid()
    ours = ("pid", "group", "numpy", "random")
    assert {name: first[name] for name in first if name not in ours} == {
        name: second[name] for name in second if name not in ours
    }
    assert (second["seen"], second["soiled"], second["is_whole"]) == (["imported"], None, True)
    assert all(first[name] != second[name] for name in ours)


@pytest.mark.usefixtures("_keeping")
def test_a_fork_has_the_environment_and_the_cpus_of_its_order(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "secret")
    one, two = look(), look(environment={"OMP_NUM_THREADS": "2"})
    assert (one["threads"], two["threads"]) == ("1", "2")
    assert one["parent"] != two["parent"]
    assert one["descriptors"] == [
        str(tmp_path / processes.STDOUT_FILE),
        str(tmp_path / processes.STDERR_FILE),
    ]
    assert (one["cwd"], one["password"]) == (str(tmp_path), None)
    cpu = min(one["cpus"])
    bound = look(cpus=(cpu,), named=("PASSWORD",))
    assert (bound["cpus"], bound["password"]) == ([cpu], "secret")


@pytest.mark.usefixtures("_keeping")
def test_what_is_preloaded_is_called_once_and_its_errors_are_left_to_the_fork(look: Look) -> None:
    preload = ("forkable:preload", "forkable:missing", "missing_module:function")
    assert look()["seen"] == ["imported"]
    assert [look(preload=preload)["seen"] for _ in range(2)] == [["imported", "preloaded"]] * 2


@pytest.mark.usefixtures("_keeping")
def test_only_servers_that_were_used_last_stay(look: Look) -> None:
    first = [look(environment={"OMP_NUM_THREADS": str(n)})["parent"] for n in range(forks.MOST_SERVERS)]
    again = look(environment={"OMP_NUM_THREADS": "0"})["parent"]
    last = look(environment={"OMP_NUM_THREADS": "99"})["parent"]
    assert again == first[0]
    assert find_survivors([first[1]]) == []
    assert all(psutil.pid_exists(pid) for pid in (first[0], *first[2:], last))


@pytest.mark.usefixtures("_path")
def test_without_a_block_that_keeps_servers_there_is_no_fork(
    fork: Fork, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_kept", forks._Kept())
    assert fork("look") is None
    with forks.keeping_servers():
        with forks.keeping_servers():
            server = look()["parent"]
        assert look()["parent"] == server
        left = fork("hang")
        assert left is not None
    assert find_survivors([server, left.pid]) == []
    assert left.wait() == -signal.SIGKILL
    assert fork("look") is None


@pytest.mark.usefixtures("_keeping")
def test_a_server_with_threads_forks_no_more_and_is_named_once(
    fork: Fork, caplog: pytest.LogCaptureFixture
) -> None:
    running = fork("hang")
    assert running is not None
    with caplog.at_level(logging.WARNING, "bakeoff"):
        assert [fork("look", preload=("forkable:start_thread",)) for _ in range(2)] == [None, None]
    (line,) = caplog.messages
    assert "started a thread" in line
    assert running.poll() is None
    processes.end_process(running, grace_s=0.0)


@pytest.mark.usefixtures("_keeping")
def test_a_killed_server_takes_its_forks_along_and_is_named_once(
    fork: Fork, look: Look, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, running = look()["parent"], fork("hang")
    assert running is not None
    while not (tmp_path / "hanging").exists():  # before that, a fork may end by itself
        time.sleep(0.01)
    os.kill(server, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert find_survivors([running.pid]) == []
    with caplog.at_level(logging.WARNING, "bakeoff"):
        assert [fork("look") for _ in range(2)] == [None, None]
    (line,) = caplog.messages
    assert "it died" in line


CLIENT = """
import sys
from pathlib import Path
from bakeoff.run.machine import forks
folder = Path(sys.argv[1])
with forks.keeping_servers():
    child = forks.fork("forkable", ("hang", ""), folder, {}, outputs=(1, 2))
    print(child.pid, flush=True)
    child.wait()
"""


@pytest.mark.usefixtures("_path")
def test_a_killed_command_leaves_neither_server_nor_fork_nor_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(tmp_path)], stdout=subprocess.PIPE)
    assert client.stdout is not None
    forked = psutil.Process(int(client.stdout.readline()))
    server = forked.parent()
    assert server is not None
    assert list((tmp_path / "temporary").iterdir()) != []
    client.kill()
    client.wait()
    assert find_survivors([forked, server]) == []
    assert list((tmp_path / "temporary").iterdir()) == []
