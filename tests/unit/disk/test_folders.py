"""Whole folders or none, and how a changed one is noticed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.disk import folders
from bakeoff.disk.digest import digest_file, digest_folder
from bakeoff.disk.folders import COMPLETE_MARKER, build_folder, find_whole, look_at
from bakeoff.disk.sealed import open_sealed, seal_json


def fill(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "weights").write_bytes(b"w" * 1000)
    (folder / "config").write_bytes(b"c" * 10)


def refuse(_: Path) -> None:
    raise AssertionError("it must not be built again")


def age(folder: Path) -> None:
    """Make a marker of now look as if it were taken when the files had long been written.

    Change times cannot be set back, which is what the marker relies on, so its own time is set forward.
    """
    move_on(folder / COMPLETE_MARKER)


def move_on(marker: Path) -> None:
    manifest = open_sealed(marker.read_bytes())
    manifest["taken_at_ns"] += 10 * folders.SETTLED_NS
    marker.write_bytes(seal_json(manifest))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    build_folder(tmp_path / "whole", fill)
    return tmp_path / "whole"


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read for their digest."""
    read: list[str] = []
    real = digest_file

    def spy(path: Path) -> str:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(folders, "digest_file", spy)
    return read


def test_a_built_folder_is_whole_and_its_manifest_has_the_digest_of_its_content(whole: Path) -> None:
    manifest = find_whole(whole, rehash=True)
    assert manifest is not None
    assert manifest.digest("inner") == digest_folder(whole / "inner")
    (whole / COMPLETE_MARKER).unlink()
    assert manifest.digest() == digest_folder(whole)


def test_a_whole_folder_is_not_built_again(whole: Path) -> None:
    build_folder(whole, refuse)


def test_a_whole_folder_that_is_not_accepted_is_built_again(whole: Path) -> None:
    build_folder(whole, lambda aside: (aside / "other").touch(), accept=lambda _: False)
    assert sorted(path.name for path in whole.iterdir()) == [COMPLETE_MARKER, "other"]


def flip_a_bit(folder: Path) -> None:
    path = folder / "inner" / "weights"
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)


def flip_a_bit_and_set_the_times_back(folder: Path) -> None:
    path = folder / "inner" / "weights"
    status = path.stat()
    flip_a_bit(folder)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_a_file(folder: Path) -> None:
    path = folder / "config"
    path.with_name("new").write_bytes(b"d" * 10)
    path.with_name("new").rename(path)


def change_a_digit(folder: Path) -> None:
    """In the digest of a file, which a look believes while the file's stamp is the same."""
    marker = folder / COMPLETE_MARKER
    text = marker.read_bytes()
    place = text.index(b'"sha256": "') + len(b'"sha256": "')
    marker.write_bytes(text[:place] + (b"1" if text[place : place + 1] == b"0" else b"0") + text[place + 1 :])


def put_a_link(folder: Path) -> None:
    shutil.move(folder / "config", folder.parent / "elsewhere")
    (folder / "config").symlink_to(folder.parent / "elsewhere")


CHANGES: list[Callable[[Path], object]] = [
    flip_a_bit,
    flip_a_bit_and_set_the_times_back,
    replace_a_file,
    put_a_link,
    lambda folder: os.truncate(folder / "inner" / "weights", 999),
    lambda folder: (folder / "config").unlink(),
    lambda folder: (folder / "inner" / "added").touch(),
    lambda folder: (folder / "config").rename(folder / "Config"),
    lambda folder: (folder / COMPLETE_MARKER).unlink(),
    lambda folder: os.truncate(folder / COMPLETE_MARKER, 30),
    lambda folder: (folder / COMPLETE_MARKER).write_bytes(b""),
    change_a_digit,
]


@pytest.mark.parametrize("rehash", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_of_which_anything_changed_is_not_whole_and_is_built_again(
    whole: Path, change: Callable[[Path], object], rehash: bool
) -> None:
    age(whole)
    change(whole)
    assert find_whole(whole, rehash=rehash) is None
    build_folder(whole, fill)
    assert find_whole(whole, rehash=True) is not None


def test_an_unchanged_file_is_not_read_again_for_a_plan_but_is_before_a_measurement(
    whole: Path, files_read: list[str]
) -> None:
    age(whole)
    assert find_whole(whole, rehash=False) is not None
    assert files_read == []
    assert find_whole(whole, rehash=True) is not None
    assert sorted(files_read) == ["config", "weights"]


def test_a_stamp_taken_right_after_the_file_was_written_is_not_believed(
    whole: Path, files_read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "SETTLED_NS", 3600 * 10**9)  # right after, however slow the machine is
    assert find_whole(whole, rehash=False) is not None
    assert sorted(files_read) == ["config", "weights"]


def test_a_touched_file_with_the_same_content_is_read_once_and_then_known(
    whole: Path, files_read: list[str]
) -> None:
    age(whole)
    os.utime(whole / "config")
    assert find_whole(whole, rehash=False) is not None
    assert files_read == ["config"]
    age(whole)
    assert find_whole(whole, rehash=False) is not None
    assert files_read == ["config"]


def test_what_is_seen_changing_in_the_moment_of_reading_shows_at_the_next_look(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = digest_file

    def read_then_change(path: Path) -> str:
        digest = real(path)
        if path.name == "weights":
            path.write_bytes(b"x" * 1000)
        return digest

    monkeypatch.setattr(folders, "digest_file", read_then_change)
    assert find_whole(whole, rehash=True) is not None
    monkeypatch.undo()
    age(whole)
    assert find_whole(whole, rehash=False) is None


def test_a_builder_that_fails_leaves_what_stood_there_and_nothing_aside(whole: Path) -> None:
    flip_a_bit(whole)
    before = digest_folder(whole)

    def break_off(aside: Path) -> None:
        (aside / "half").write_bytes(b"h")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        build_folder(whole, break_off)
    assert digest_folder(whole) == before
    assert sorted(path.name for path in whole.parent.iterdir()) == [".whole.lock", "whole"]


def test_somebody_elses_folder_is_only_looked_at_and_read_again_when_it_changed(
    tmp_path: Path, files_read: list[str]
) -> None:
    theirs, memo = tmp_path / "theirs", tmp_path / "memo" / "theirs.json"
    theirs.mkdir()
    fill(theirs)
    before = digest_folder(theirs)
    assert look_at(theirs, memo, rehash=False).digest() == before
    move_on(memo)
    files_read.clear()
    assert look_at(theirs, memo, rehash=False).digest() == before
    assert files_read == []
    flip_a_bit(theirs)
    changed = look_at(theirs, memo, rehash=False).digest()
    assert changed == digest_folder(theirs) != before
    assert files_read == ["weights"]
