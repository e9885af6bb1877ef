"""Stored results that something changed: seen, named with their path, set aside; the others go on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bakeoff.core.job import Job
from bakeoff.core.records import Measurement
from bakeoff.disk.sealed import open_sealed, seal_json
from bakeoff.errors import DamagedResultError, DataError
from bakeoff.measure.statistics.readings import LATENCY, MEMORY, Reading
from bakeoff.stores.results.attempt_files import ARRAYS_SEAL, encode_attempt, parse_attempt, read_attempt
from bakeoff.stores.results.store import ResultStore

GOLDEN = Path(__file__).parents[3] / "golden"
LONGEST_S = 20


class Shelf:
    """Three jobs with one valid attempt each, and the lines that their store says."""

    def __init__(self, folder: Path, jobs: list[Job], make: Callable[..., Measurement]) -> None:
        self.lines: list[str] = []
        self.folder = folder
        self.jobs = jobs
        self.made = [make(job, *readings(number)) for number, job in enumerate(jobs)]
        self.paths = [self.open().store(each) for each in self.made]

    def open(self) -> ResultStore:
        return ResultStore(self.folder, self.lines.append)

    def standing(self) -> list[int]:
        """Which of the three still count, as a new process sees them."""
        keys = {each.key for each in self.open().list_existing(["c" * 32])}
        return [number for number, job in enumerate(self.jobs) if job.key in keys]


def readings(number: int) -> tuple[Reading, ...]:
    source = random.Random(number)
    values = tuple(source.uniform(1e6, 2e6) for _ in range(40))
    rounds = tuple(range(40))
    repeats = (0,) * 20 + (1,) * 20
    return (
        Reading(quantity=LATENCY, unit="ns", at={"batch_size": 1}, values=values, repeats=repeats,
                columns={"round": rounds}, numbers={"share": values}),
        Reading(quantity=MEMORY, unit="bytes", values=(), repeats=()),
    )  # fmt: skip


@pytest.fixture
def shelf(
    tmp_path: Path, make_job: Callable[..., Job], make_measurement: Callable[..., Measurement]
) -> Shelf:
    jobs = [make_job(checkpoint_digest=digit * 64) for digit in "345"]
    return Shelf(tmp_path / "results", jobs, make_measurement)


def reseal(path: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    """Change a document as someone would who knows how its digest is made."""
    document = open_sealed(path.read_bytes())
    change(document)
    path.write_bytes(seal_json(document))


def put_arrays(path: Path, packed: bytes) -> None:
    """Replace the raw values, and name their digest in the document."""
    path.with_suffix(".npz").write_bytes(packed)
    reseal(path, lambda values: values.update({ARRAYS_SEAL: hashlib.sha256(packed).hexdigest()}))


# --- what nobody touched ----------------------------------------------------------------------------------


def test_attempts_come_back_as_they_were(shelf: Shelf) -> None:
    assert [shelf.open().load(job.key, 1) for job in shelf.jobs] == shelf.made
    assert shelf.standing() == [0, 1, 2]
    assert shelf.open().set_damaged_aside() == []
    assert shelf.lines == []


def test_the_stored_format_is_the_golden_one(shelf: Shelf) -> None:
    golden = GOLDEN / "attempt_v5.json"
    assert read_attempt(golden) == shelf.made[0]
    mine, kept = (open_sealed(each) for each in (encode_attempt(shelf.made[0])[0], golden.read_bytes()))
    for document in (mine, kept):
        del document[ARRAYS_SEAL]  # compression differs between versions of zlib
    assert mine == kept


@pytest.mark.parametrize("version", [4, 6])
def test_another_version_is_refused_and_left_alone(shelf: Shelf, version: int) -> None:
    def change(values: dict) -> None:  # type: ignore[type-arg]
        values["format_version"] = version

    reseal(shelf.paths[0], change)
    with pytest.raises(
        DataError, match=f"found format {version}.*expected format 5; move the folder"
    ) as found:
        shelf.standing()
    assert not isinstance(found.value, DamagedResultError)
    with pytest.raises(DataError, match=f"found format {version}"):
        shelf.open().set_damaged_aside()
    assert shelf.paths[0].is_file()


def test_a_file_from_before_digests_is_called_older_not_damaged(shelf: Shelf) -> None:
    document = json.loads(shelf.paths[0].read_text()) | {"format_version": 4}
    del document["sha256"], document[ARRAYS_SEAL]
    shelf.paths[0].write_text(json.dumps(document, indent=2))
    with pytest.raises(DataError, match="found format 4, which another version of bakeoff wrote"):
        shelf.standing()


def test_what_killed_processes_left_half_written_goes_and_nothing_else_does(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(shelf.folder.rglob("*"))
    with monkeypatch.context() as patch:
        # A killed process does not tidy up: neither the replacement nor the removal of the part happens.
        patch.setattr(Path, "replace", lambda *_: None)
        patch.setattr("bakeoff.disk.durable.sync", lambda _: None)
        shelf.open().store(shelf.made[0].replace(attempt=2), is_forced=True)
    (shelf.paths[1].parent / ".notes").write_text("mine")
    left = set(shelf.folder.rglob("*")) - set(before)
    assert sorted(path.name.split(".")[2] for path in left if path.name != ".notes") == [
        "forced",
        "json",
        "npz",
    ]
    shelf.open().remove_leftovers()
    assert sorted(shelf.folder.rglob("*")) == sorted([*before, shelf.paths[1].parent / ".notes"])
    assert shelf.standing() == [0, 1, 2]


# --- what something changed -------------------------------------------------------------------------------


def test_every_changed_digit_is_seen(shelf: Shelf) -> None:
    whole, packed = shelf.paths[0].read_bytes(), shelf.paths[0].with_suffix(".npz").read_bytes()
    digits = [place for place, byte in enumerate(whole) if 48 <= byte <= 57]
    source = random.Random(16)
    for place in source.choices(digits, k=1000):
        changed = bytearray(whole)
        changed[place] = 48 + (changed[place] - 48 + source.randint(1, 9)) % 10
        with pytest.raises(DamagedResultError):
            parse_attempt(bytes(changed), packed, "here")


def test_every_changed_or_lost_byte_is_seen_in_both_files(shelf: Shelf) -> None:
    whole, packed = shelf.paths[0].read_bytes(), shelf.paths[0].with_suffix(".npz").read_bytes()
    source = random.Random(17)
    for _ in range(600):
        for is_document in (True, False):
            given = bytearray(whole if is_document else packed)
            place = source.randrange(len(given))
            if source.random() < 0.5:
                given[place] ^= 1 << source.randrange(8)
            else:
                del given[place : place + source.randint(1, 64)]
            files = (bytes(given), packed) if is_document else (whole, bytes(given))
            with pytest.raises(DamagedResultError):
                parse_attempt(*files, "here")


@pytest.mark.parametrize("suffixes", [(".json",), (".npz",), (".json", ".npz")])
@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (0, 2), (2, 0)])
def test_swapped_files_are_seen(shelf: Shelf, suffixes: tuple[str, ...], first: int, second: int) -> None:
    for suffix in suffixes:
        one, other = (shelf.paths[number].with_suffix(suffix) for number in (first, second))
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
    assert shelf.standing() == [number for number in range(3) if number not in (first, second)]
    assert len(shelf.lines) == 2


def test_an_attempt_under_another_number_is_seen(shelf: Shelf) -> None:
    for suffix in (".json", ".npz"):
        path = shelf.paths[0].with_suffix(suffix)
        shutil.copy(path, path.with_name(f"002{suffix}"))
    assert [each.attempt for each in shelf.open().list_existing(["c" * 32])] == [1, 1, 1]
    assert len(shelf.lines) == 1
    assert "002.json: found attempt 1 of" in shelf.lines[0]


def _remove(path: Path) -> None:
    path.unlink() if path.is_file() else shutil.rmtree(path)


def _to_link(path: Path) -> None:
    aside = path.with_name(f"{path.name}.real")
    path.rename(aside)
    path.symlink_to(aside)


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_text("y")


def _to_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _to_large_file(path: Path) -> None:
    os.truncate(path, 3 << 30)  # sparse: it takes no space


def _to_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def _to_deep_json(path: Path) -> None:
    path.write_bytes(b"[" * 200_000)


BREAKS = [_to_link, _to_fifo, _to_folder, _to_device, _to_large_file, _to_half, _to_nothing, _to_deep_json]


@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("spoil", BREAKS)
def test_a_damaged_attempt_is_named_set_aside_and_measured_again(
    shelf: Shelf, spoil: Callable[[Path], None], suffix: str
) -> None:
    path = shelf.paths[1].with_suffix(suffix)
    spoil(path)
    assert shelf.standing() == [0, 2]
    (line,) = shelf.lines
    assert line.startswith(f"{path}: found ")
    assert line.endswith("run `bakeoff bench`, which sets it aside and measures again")
    assert "\n" not in line
    assert len(line) < 500

    (place,) = shelf.open().set_damaged_aside()
    assert shelf.lines[-1].endswith(f"; moved to {place}")
    assert os.path.lexists(place)
    assert place.is_relative_to(shelf.folder / "damaged" / shelf.jobs[1].key_digest)
    shelf.open().store(shelf.made[1])
    assert shelf.standing() == [0, 1, 2]
    assert shelf.open().load(shelf.jobs[1].key, 1) == shelf.made[1]


def test_missing_raw_values_are_seen(shelf: Shelf) -> None:
    shelf.paths[1].with_suffix(".npz").unlink()
    assert shelf.standing() == [0, 2]
    assert "001.npz: found no raw values" in shelf.lines[0]


def test_a_linked_folder_is_set_aside_and_its_target_is_left_alone(shelf: Shelf, tmp_path: Path) -> None:
    mine, theirs = shelf.paths[1].parent, tmp_path / "theirs"
    mine.rename(theirs)
    mine.symlink_to(theirs)
    assert shelf.standing() == [0, 2]
    shelf.open().set_damaged_aside()
    assert not os.path.lexists(mine)
    assert sorted(path.name for path in theirs.iterdir()) == ["001.json", "001.npz"]


@pytest.mark.timeout(LONGEST_S)
def test_a_fifo_as_mark_counts_as_not_logged(shelf: Shelf) -> None:
    os.mkfifo(shelf.paths[0].with_suffix(".logged"))
    assert shelf.standing() == [0, 1, 2]
    assert shelf.open().find_logged(shelf.jobs[0].key, 1) is None


# --- archives that someone made on purpose ----------------------------------------------------------------


def _pack(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _zip(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "a pickle": lambda: _pack(**{"0.values": np.array([{}], dtype=object)}),
    "a shape of a petabyte": lambda: _zip(("0.values.npy", _header("(125000000000000,)"))),
    "a negative shape": lambda: _zip(("0.values.npy", _header("(-40,)"))),
    "another length": lambda: _pack(**{"0.values": np.zeros(39)}),
    "another dtype": lambda: _pack(**{"0.values": np.zeros(40, dtype=np.float32)}),
    "two dimensions": lambda: _pack(**{"0.values": np.zeros((20, 2))}),
    "half an array": lambda: _zip(("0.values.npy", _header("(40,)") + b"\0" * 160)),
    "a bomb": lambda: _zip(("0.values.npy", _header("(40,)") + b"\0" * (64 << 20))),
    "an unknown array": lambda: _pack(**{"9.values": np.zeros(40)}),
    "a name with a path": lambda: _zip(("../../x.npy", _header("(40,)"))),
    "no arrays": _zip,
    "no archive": lambda: b"PK\x03\x04 nothing of the kind",
}


@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_tricky_archive_with_right_digests_is_refused(shelf: Shelf, kind: str) -> None:
    put_arrays(shelf.paths[1], ARCHIVES[kind]())
    with pytest.raises(DamagedResultError, match="no readable attempt"):
        shelf.open().load(shelf.jobs[1].key, 1)
    assert [shelf.open().load_valid(job) is not None for job in shelf.jobs] == [True, False, True]
    assert len(shelf.open().set_damaged_aside()) == 1
    assert shelf.standing() == [0, 2]


@pytest.mark.parametrize("value", ["a", -1, [], 2**70, None])
def test_a_document_of_other_types_with_right_digests_is_refused(shelf: Shelf, value: object) -> None:
    reseal(shelf.paths[1], lambda values: values.update(readings=value))
    with pytest.raises(DamagedResultError):
        shelf.open().load(shelf.jobs[1].key, 1)
