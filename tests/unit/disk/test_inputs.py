"""Input files: whatever lies at a path, reading it ends at once, with the file or with a reason."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.core.config.parse import parse_settings
from bakeoff.disk.digest import digest_file
from bakeoff.disk.inputs import UnsuitableFileError, read_regular, refuse_escape
from bakeoff.errors import BakeoffError, CheckpointError, ConfigError, DataError, ModelSourceError
from bakeoff.orchestrator import Project, open_project
from bakeoff.orchestrator.named_models import identify_model
from bakeoff.stores.documents import read_rows
from bakeoff.stores.layouts import load_layout

# A hang is what these tests are about.
pytestmark = pytest.mark.timeout(30)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have about 100 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _large(path: Path) -> None:
    path.touch()
    os.truncate(path, 5 << 30)  # sparse: it takes no space


def _link_out(path: Path) -> None:
    project = next(folder for folder in path.parents if folder.name == "project")
    outside = project.parent / f"outside{path.suffix}"
    outside.write_text("{}\n")
    path.symlink_to(outside)


def _loop(path: Path) -> None:
    path.symlink_to(path)


KINDS: dict[Callable[[Path], None], str] = {
    _fifo: "a FIFO, not a regular file",
    _folder: "a folder, not a regular file",
    _socket: "a socket, not a regular file",
    _device: "a device, not a regular file",
    _large: "bytes; at most",
    _loop: "a symbolic link, not a regular file",
}
ESCAPES: dict[Callable[[Path], None], str] = {
    _link_out: "a link out of the project; copy the file, or name ",
    _device: "a link out of the project",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def one_line(act: Callable[[], object], kind: type[BakeoffError]) -> str:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("make", KINDS)
def test_what_is_no_regular_file_is_not_read(root: Path, make: Callable[[Path], None]) -> None:
    path = root / "x"
    make(path)
    with pytest.raises(UnsuitableFileError, match=KINDS[make]):
        read_regular(path, 1000)


def test_a_file_is_read_up_to_its_limit_and_a_link_where_it_may_be_one(root: Path) -> None:
    path, link = root / "x", root / "link"
    path.write_bytes(b"x" * 1000)
    link.symlink_to(path)
    assert read_regular(path, 1000) == read_regular(link, 1000) == b"x" * 1000
    with pytest.raises(UnsuitableFileError, match="1,000 bytes; at most 999 are allowed"):
        read_regular(path, 999)
    with pytest.raises(UnsuitableFileError, match="a symbolic link"):
        read_regular(link, 1000, follows_links=False)
    with pytest.raises(FileNotFoundError):
        read_regular(root / "missing", 1000)


def test_a_file_whose_size_is_not_known_is_limited_too() -> None:
    with pytest.raises(UnsuitableFileError, match="more than the 10 bytes"):
        read_regular(Path("/proc/self/status"), 10)


def test_a_link_within_the_project_and_a_path_outside_are_allowed(root: Path) -> None:
    (root / "data").mkdir()
    (root / "data" / "x").touch()
    (root / "y").symlink_to(root / "data" / "x")
    (root.parent / "z").touch()
    (root.parent / "linked").symlink_to(root)
    for path in (root / "y", root / "data" / ".." / "y", root / ".." / "z", root / "missing"):
        refuse_escape(path, root)
    refuse_escape(root.parent / "linked" / "y", root.parent / "linked")
    (root / "folder").symlink_to(root.parent)
    with pytest.raises(UnsuitableFileError, match=f"name {root.parent / 'z'} itself"):
        refuse_escape(root / "folder" / "z", root)


@pytest.mark.parametrize("make", [*KINDS, *ESCAPES])
def test_a_configuration_that_is_no_file_of_the_project_is_one_line(
    root: Path, make: Callable[[Path], None]
) -> None:
    (root / "config").mkdir()
    for path, config in (
        (root / "config" / "data.yaml", root / "config"),
        (root / "one.yml", root / "one.yml"),
    ):
        make(path)
        if path == config and make is _folder:
            continue  # a folder is a configuration
        line = one_line(lambda: open_project(config), ConfigError)  # noqa: B023
        assert line.startswith(f"{path}: cannot be read: ")
        assert (ESCAPES | KINDS)[make].split("; copy")[0] in line or make is _device


@pytest.mark.parametrize("make", [*KINDS, _link_out])
def test_a_layout_that_is_no_file_of_the_project_is_one_line(
    root: Path, make: Callable[[Path], None]
) -> None:
    make(root / "layout.yaml")
    line = one_line(lambda: load_layout("layout.yaml", root), ConfigError)
    assert line.startswith(f"tracking.layout: {root / 'layout.yaml'} cannot be read: ")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "conll", "npz", "parquet"])
@pytest.mark.parametrize("make", [_fifo, _socket, _device, _large, _loop])
def test_data_that_is_no_file_is_one_line(root: Path, make: Callable[[Path], None], suffix: str) -> None:
    path = root / f"data.{suffix}"
    make(path)
    assert one_line(lambda: read_rows(path), DataError).startswith(f"{path}: found ")


@pytest.mark.parametrize("role", ["test", "train"])
@pytest.mark.parametrize("make", ESCAPES)
def test_data_that_a_link_takes_out_of_the_project_is_one_line(
    root: Path, make: Callable[[Path], None], role: str
) -> None:
    make(root / "data.jsonl")
    text = f"data: {{test: t.jsonl, {role}: data.jsonl}}\nmodels: {{a: a}}".replace(
        "test: t.jsonl, test", "test"
    )
    project = Project(root, parse_settings({"": ("bakeoff.yaml", text)}))
    line = one_line(lambda: getattr(project, f"{role}_documents"), DataError)
    assert line.startswith(f"{root / 'data.jsonl'}: found {ESCAPES[make]}")


@pytest.mark.parametrize("name", ["m", "m.onnx", "m/MLmodel", "m/model.onnx", "m/config.json"])
@pytest.mark.parametrize("make", [_fifo, _socket, _device])
def test_a_model_that_is_no_file_is_one_line(root: Path, make: Callable[[Path], None], name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    make(root / name)
    source = "m.onnx" if name == "m.onnx" else "m"
    text = f"data: {{test: t.jsonl}}\nmodels: {{a: ./{source}}}"
    project = Project(root, parse_settings({"": ("bakeoff.yaml", text)}))
    given = project.settings.models["a"]
    line = one_line(lambda: identify_model(project, "a", given), ModelSourceError)
    assert line.startswith(f"models.a (./{source}): ")


def test_a_fifo_is_not_digested(root: Path) -> None:
    _fifo(root / "x")
    with pytest.raises(CheckpointError, match="a FIFO, not a regular file"):
        digest_file(root / "x")
