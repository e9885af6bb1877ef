"""An error that bakeoff did not foresee: one masked line, exit code 1, the traceback in a file."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

RAISE = """
import importlib
main = importlib.import_module("bakeoff.cli.main")
def fail(**_):
    {statement}
main.cli.main = fail
main.main()
"""


def run(statement: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RAISE.format(statement=statement)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin", "TMPDIR": str(folder), "PYTHONPATH": ":".join(sys.path)},
    )


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        (
            "raise ValueError('no port in postgresql://me:S3CRET/x@host\\nsecond line')",
            "ValueError: no port in",
        ),
        ("raise KeyError('password=S3CRET')", "KeyError: "),
        ("raise OSError(5, 'Input/output error', 'file')", "OSError: [Errno 5] Input/output error: 'file'"),
        ("raise ValueError('x' * 3_000_000)", "ValueError: xxx"),
        ("(f := lambda: f())()", "RecursionError: maximum recursion depth exceeded"),
        ("raise MemoryError", "MemoryError"),
        ("raise UnicodeDecodeError('utf-8', b'\\xff', 0, 1, '\\ud800')", "UnicodeDecodeError"),
    ],
)
def test_a_bug_is_one_masked_line_and_a_file_with_the_traceback(
    tmp_path: Path, statement: str, shown: str
) -> None:
    done = run(statement, tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: a bug in bakeoff ({shown}")
    assert len(line) < 700
    match = re.search(r"the traceback is in (\S+); report it with that file$", line)
    assert match is not None
    kept = Path(match[1])
    assert kept.parent == tmp_path
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    text = kept.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in text
    assert "S3CRET" not in done.stderr
    assert "S3CRET" not in text


def test_a_bug_without_room_for_its_traceback_is_one_line_too(tmp_path: Path) -> None:
    place = "import tempfile; tempfile.tempdir = '/nowhere'; raise ValueError('x')"
    done = run(place, tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: a bug in bakeoff (ValueError: x); ")
    assert line.endswith("; the traceback could not be kept (No such file or directory)")
