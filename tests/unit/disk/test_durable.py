"""Whole files or none, whatever fails; and one holder of a lock, however the last one died."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bakeoff.disk import durable
from bakeoff.errors import StorageError

OLD, NEW = b"old content\n", b"new content, which is longer\n"


def start(program: str, *arguments: Path) -> subprocess.Popen[str]:
    """Run a program in a process of its own; the caller reads what it prints and waits for it."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """``os.umask``, undone at the end."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], bool]:
    """Whether a file or folder, by its inode, was synced since the test began."""
    seen: set[int] = set()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        seen.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    return lambda path: path.stat().st_ino in seen


def break_call(monkeypatch: pytest.MonkeyPatch, name: str, *, at: int = 1) -> None:
    """Let the n-th call of an ``os`` function fail; all others are real."""
    real, calls = getattr(os, name), iter(range(1, 1000))

    def maybe(*arguments: object, **options: object) -> object:
        if next(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, maybe)


# --- files ------------------------------------------------------------------------------------------------


def test_a_file_is_written_with_the_folders_that_it_needs(tmp_path: Path) -> None:
    durable.write_bytes(tmp_path / "a" / "b" / "file", NEW)
    durable.write_bytes(tmp_path / "a" / "b" / "file", OLD)
    assert contents(tmp_path) == {"a/b/file": OLD}


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_as_readable_as_any_other_of_the_user(
    tmp_path: Path, umask: Callable[[int], int], mask: int, expected: int
) -> None:
    umask(mask)
    durable.write_bytes(tmp_path / "file", NEW)
    (tmp_path / "plain").write_bytes(NEW)
    assert mode(tmp_path / "file") == mode(tmp_path / "plain") == expected
    assert umask(mask) == mask


def test_a_file_and_every_folder_whose_names_changed_are_synced(
    tmp_path: Path, synced: Callable[[Path], bool]
) -> None:
    durable.write_bytes(tmp_path / "a" / "b" / "file", NEW)
    for path in (tmp_path / "a" / "b" / "file", tmp_path / "a" / "b", tmp_path / "a", tmp_path):
        assert synced(path), path


@pytest.mark.parametrize("call", ["fsync", "replace", "rename"])
def test_a_fault_before_the_rename_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    durable.write_bytes(tmp_path / "file", OLD)
    if call == "rename":
        # A folder stands where the file shall: the real rename refuses.
        (tmp_path / "file").unlink()
        (tmp_path / "file").mkdir()
        (tmp_path / "file" / "kept").write_bytes(OLD)
        with pytest.raises(StorageError, match="file"):
            durable.write_bytes(tmp_path / "file", NEW)
        assert contents(tmp_path) == {"file/kept": OLD}
        return
    break_call(monkeypatch, call)
    with pytest.raises(StorageError, match="file"):
        durable.write_bytes(tmp_path / "file", NEW)
    assert contents(tmp_path) == {"file": OLD}


def test_a_fault_after_the_rename_is_told_and_leaves_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable.write_bytes(tmp_path / "file", OLD)
    break_call(monkeypatch, "fsync", at=2)
    with pytest.raises(StorageError, match="file"):
        durable.write_bytes(tmp_path / "file", NEW)
    assert contents(tmp_path) == {"file": NEW}


def test_a_full_target_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    durable.write_bytes(tmp_path / "file", OLD)
    program = """
        import resource, sys
        from pathlib import Path
        from bakeoff.disk import durable
        from bakeoff.errors import StorageError
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            durable.write_bytes(Path(sys.argv[1]), b"x" * 100_000)
        except StorageError as error:
            print(error.__cause__.strerror)
    """
    with start(program, tmp_path / "file") as process:
        assert process.communicate()[0] == "File too large\n"
    assert contents(tmp_path) == {"file": OLD}


def test_a_kill_in_the_middle_leaves_the_old_file_under_its_name(tmp_path: Path) -> None:
    durable.write_bytes(tmp_path / "file", OLD)
    program = """
        import os, signal, sys
        from pathlib import Path
        from bakeoff.disk import durable
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        durable.write_bytes(Path(sys.argv[1]), b"new")
    """
    with start(program, tmp_path / "file") as process:
        assert process.wait() == -signal.SIGKILL
    assert (tmp_path / "file").read_bytes() == OLD
    assert all(path.name.startswith(".file.") for path in tmp_path.iterdir() if path.name != "file")


def test_a_reader_beside_a_writer_sees_only_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write_bytes(path, b"0" * 300_000)
    program = """
        import sys
        from pathlib import Path
        from bakeoff.disk import durable
        for number in range(60):
            durable.write_bytes(Path(sys.argv[1]), str(number % 10).encode() * 300_000)
    """
    with start(program, path) as process:
        while process.poll() is None:
            data = path.read_bytes()
            assert len(data) == 300_000
            assert len(set(data)) == 1
    assert path.read_bytes() == b"9" * 300_000


def test_json_reads_back_with_its_text_legible(tmp_path: Path) -> None:
    value = {"name": "größer ≥ 0.5", "values": [1, 2.5, None, True]}
    durable.write_json(tmp_path / "file.json", value)
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "größer ≥ 0.5" in text
    assert text.endswith("}\n")


def test_a_value_that_json_cannot_carry_leaves_the_old_file(tmp_path: Path) -> None:
    durable.write_bytes(tmp_path / "file", OLD)
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.write_json(tmp_path / "file", {"f1": float("nan")})
    assert contents(tmp_path) == {"file": OLD}


# --- locks ------------------------------------------------------------------------------------------------

HOLD = """
    import sys
    from pathlib import Path
    from bakeoff.disk import durable
    with durable.exclusive(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_a_free_lock_is_taken_without_waiting_and_can_be_taken_again(tmp_path: Path) -> None:
    waits: list[str] = []
    for _ in range(3):
        with durable.exclusive(tmp_path / "new" / "lock", waits.append):
            pass
    assert waits == []


def test_a_lock_is_free_again_after_an_error_inside(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), durable.exclusive(tmp_path / "lock"):
        raise ZeroDivisionError
    with durable.exclusive(tmp_path / "lock", lambda _: pytest.fail("the lock is still held")):
        pass


def test_a_waiter_says_so_once_and_goes_on_when_the_holder_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waits: list[str] = []

        def on_wait(line: str) -> None:
            assert holder.poll() is None
            waits.append(line)
            holder.kill()

        with durable.exclusive(tmp_path / "lock", on_wait):
            assert holder.wait() == -signal.SIGKILL
        (line,) = waits
        assert line.startswith(f"pid {holder.pid} (`python -c`) has held it since ")
    assert list(tmp_path.iterdir()) == [tmp_path / "lock"]


def test_of_several_processes_one_at_a_time_is_inside(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    program = """
        import sys
        from pathlib import Path
        from bakeoff.disk import durable
        counter = Path(sys.argv[1])
        for _ in range(100):
            with durable.exclusive(counter.with_name("lock")):
                counter.write_text(str(int(counter.read_text()) + 1))
    """
    processes = [start(program, counter) for _ in range(3)]
    for process in processes:
        with process:
            assert process.wait() == 0
    assert counter.read_text() == "300"
