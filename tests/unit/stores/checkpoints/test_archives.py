"""Archives that others made: what is unpacked, and what is refused before it is written."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.errors import CheckpointError
from bakeoff.stores.checkpoints import archives
from bakeoff.stores.checkpoints.archives import find_checkpoint_folder, unpack

Member = tuple[tarfile.TarInfo, bytes]


def file_member(name: str, data: bytes = b"data", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


def write_tar(
    path: Path, members: list[Member], mode: Literal["w", "w:gz", "w:bz2", "w:xz"] = "w:gz"
) -> Path:
    with tarfile.open(path, mode) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def list_all(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@contextmanager
def nothing_written_outside(folder: Path) -> Iterator[Path]:
    """An empty folder two levels down; whatever happens in it, nothing around it may change."""
    inside = folder / "around" / "inside"
    inside.mkdir(parents=True)
    (folder / "around" / "precious").write_bytes(b"precious")
    yield inside
    for path in folder.joinpath("around").iterdir():
        assert path.name in {"inside", "precious"}
    assert (folder / "around" / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("top", ["", "./", "best_trial/checkpoint/"])
def test_a_checkpoint_comes_out_of_every_kind_of_tar(
    tmp_path: Path, make_checkpoint: Callable[..., Path], mode: Literal["w", "w:gz"], top: str
) -> None:
    source = make_checkpoint(tmp_path / "source")
    archive = tmp_path / "best_trial_checkpoint.tar.gz"  # the name decides nothing
    with tarfile.open(archive, mode) as tar:
        tar.add(source, arcname=top or ".")
    (tmp_path / "out").mkdir()
    unpack(archive, tmp_path / "out", "archive")
    assert list_all(find_checkpoint_folder(tmp_path / "out", "archive")) == list_all(source)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (file_member("/tmp/absolute"), "absolute path"),
        (file_member("../outside"), "is not a name"),
        (file_member("a/../../outside"), "is not a name"),
        (file_member("a\\..\\outside"), "separator"),
        (file_member("C:outside"), "reserved"),
        (file_member("link", b"", tarfile.SYMTYPE, "/etc/passwd"), "neither a plain file nor a folder"),
        (file_member("link", b"", tarfile.SYMTYPE, "first"), "neither a plain file nor a folder"),
        (file_member("link", b"", tarfile.LNKTYPE, "../precious"), "neither a plain file nor a folder"),
        (file_member("device", b"", tarfile.CHRTYPE), "neither a plain file nor a folder"),
        (file_member("device", b"", tarfile.BLKTYPE), "neither a plain file nor a folder"),
        (file_member("pipe", b"", tarfile.FIFOTYPE), "neither a plain file nor a folder"),
        (file_member("first"), "is a duplicate"),
        (file_member("FIRST"), "differ only in case or Unicode form"),
        (file_member("first/below"), "is a duplicate"),
        (file_member("a\nb"), "control"),
        (file_member("\udcff"), "control"),
        (file_member("x" * 300), "longer than 255 bytes"),
        (file_member("a/" * 600 + "a"), "longer than 1024 bytes"),
    ],
)
def test_a_member_that_is_no_plain_file_in_the_folder_is_refused(
    tmp_path: Path, member: Member, reason: str
) -> None:
    archive = write_tar(tmp_path / "archive", [file_member("first"), member])
    with nothing_written_outside(tmp_path) as inside:
        with pytest.raises(CheckpointError, match=reason) as caught:
            unpack(archive, inside, "archive")
        assert set(list_all(inside)) <= {"first"}
    assert "\n" not in str(caught.value)


def test_a_link_planted_first_and_written_through_second_changes_nothing(tmp_path: Path) -> None:
    archive = write_tar(
        tmp_path / "archive",
        [file_member("way", b"", tarfile.SYMTYPE, ".."), file_member("way/precious", b"stolen")],
    )
    with (
        nothing_written_outside(tmp_path) as inside,
        pytest.raises(CheckpointError, match="neither a plain file"),
    ):
        unpack(archive, inside, "archive")


def test_too_many_members_and_too_many_bytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    crowd = write_tar(tmp_path / "crowd", [file_member(f"{number}") for number in range(2001)])
    with pytest.raises(CheckpointError, match="more than 2000 members"):
        unpack(crowd, tmp_path / "out", "archive")
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2**20)
    bomb = write_tar(tmp_path / "bomb", [file_member("zeros", bytes(2**22))])
    assert bomb.stat().st_size < 2**14
    with pytest.raises(CheckpointError, match="when unpacked"):
        unpack(bomb, tmp_path / "out", "archive")
    assert (tmp_path / "out" / "zeros").stat().st_size <= 2**20


def raw_header(name: bytes, size: bytes, kind: bytes) -> bytes:
    """A tar header block whose fields no well-meaning writer would fill so."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(size)] = size
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


NEGATIVE = b"\xff" * 8 + (-1024).to_bytes(4, "big", signed=True)


@pytest.mark.parametrize(
    "blocks",
    [
        raw_header(b"a", NEGATIVE, b"0"),
        raw_header(b"a", NEGATIVE, b"x") + bytes(512),
        raw_header(b"a", NEGATIVE, b"L"),
        raw_header(b"a", b"77777777777\0", b"x"),
        raw_header(b"a", b"77777777777\0", b"L"),
        b"".join(raw_header(b"a", b"00000000000\0", b"x") for _ in range(3000)),
        raw_header(b"a", b"00000000000\0", b"S"),
    ],
    ids=["backwards", "backwards-pax", "backwards-long", "huge-pax", "huge-long", "endless-pax", "sparse"],
)
def test_headers_that_lead_the_parser_astray_are_refused_at_once(tmp_path: Path, blocks: bytes) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(gzip.compress(blocks + bytes(2**24)))
    with nothing_written_outside(tmp_path) as inside, pytest.raises(CheckpointError):
        unpack(archive, inside, "archive")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_cut_short_anywhere_is_refused(tmp_path: Path, mode: Literal["w", "w:gz"]) -> None:
    members = [file_member("a", bytes(700)), file_member("b", b"b" * 700)]
    whole = write_tar(tmp_path / "archive", members, mode).read_bytes()
    if mode == "w":
        whole = whole.rstrip(b"\0")  # how much padding follows is up to the writer
    for length in range(0, len(whole), 97):
        (tmp_path / "cut").write_bytes(whole[:length])
        (tmp_path / f"out-{length}").mkdir()
        with pytest.raises(CheckpointError, match=r"cannot be read|cut short"):
            unpack(tmp_path / "cut", tmp_path / f"out-{length}", "archive")


def test_a_flipped_bit_in_a_compressed_archive_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20
    plain = write_tar(tmp_path / "archive", [file_member("a", content)], "w").read_bytes()
    whole = gzip.compress(plain)
    n_refused = 0
    for position in range(10, len(whole), 7):  # the ten bytes before hold time and system, nothing else
        data = bytearray(whole)
        data[position] ^= 4
        (tmp_path / "flipped").write_bytes(data)
        (tmp_path / f"out-{position}").mkdir()
        try:
            unpack(tmp_path / "flipped", tmp_path / f"out-{position}", "archive")
        except CheckpointError:
            n_refused += 1
        else:  # some bits of a compressed stream only fill up
            assert (tmp_path / f"out-{position}" / "a").read_bytes() == content
    assert n_refused > 40


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for data in (b"", b"PK\x03\x04 a zip", b"x" * 5000, gzip.compress(b"text"), b"\x1f\x8b"):
        (tmp_path / "archive").write_bytes(data)
        with pytest.raises(CheckpointError):
            unpack(tmp_path / "archive", tmp_path / "out", "archive")
        assert list_all(tmp_path / "out") == {}


def test_an_archive_with_none_or_several_checkpoints_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(CheckpointError, match=r"no folder holds config\.json \(found 'readme\.txt'\)"):
        find_checkpoint_folder(tmp_path, "archive")
    for name in ("fold0", "fold1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    with pytest.raises(CheckpointError, match=r"2 folders hold config\.json: 'fold0', 'fold1'"):
        find_checkpoint_folder(tmp_path, "archive")


NAMES = st.one_of(
    st.sampled_from(
        ["config.json", "Config.json", "..", "../up", "/abs", "a", "a/b", "a/b/../../..", "./a", "."]
    ),
    st.text(max_size=20),
    st.lists(st.sampled_from(["..", ".", "a", "b", "", "\u202e", "ａ"]), max_size=6).map("/".join),
)
KINDS = st.sampled_from(
    [
        tarfile.REGTYPE,
        tarfile.AREGTYPE,
        tarfile.CONTTYPE,
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"\x00",
        b"Z",
    ]
)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=600), KINDS, NAMES), max_size=6)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(members=MEMBERS, form=FORMATS, flips=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255))))
def test_no_archive_whatsoever_writes_outside_or_leaves_anything_but_plain_files(
    tmp_path_factory: pytest.TempPathFactory,
    members: list[tuple[str, bytes, bytes, str]],
    form: int,
    flips: list[tuple[int, int]],
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    buffer = io.BytesIO()
    try:
        with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
            for name, data, kind, link in members:
                info, _ = file_member(name, data, kind, link)
                tar.addfile(info, io.BytesIO(data))
    except (ValueError, UnicodeError):
        return  # this format cannot hold such a name
    spoilt = bytearray(buffer.getvalue())
    for position, value in flips:
        spoilt[position % len(spoilt)] = value
    (folder / "archive").write_bytes(spoilt)
    with nothing_written_outside(folder) as inside:
        said = ""
        try:
            unpack(folder / "archive", inside, "archive")
        except CheckpointError as error:
            said = str(error)
        assert said.isprintable()
        for path in inside.rglob("*"):
            assert not path.is_symlink()
            assert path.is_dir() or path.stat().st_nlink == 1
