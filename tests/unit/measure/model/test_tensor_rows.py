"""Rows of arrays: what is written is what a model gets, and anything else is refused in one line."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bakeoff.errors import DataError
from bakeoff.measure.model.tensor_rows import MAX_BYTES, TensorRows, digest_arrays, read_arrays
from bakeoff.measure.model.tokenizer import Batch

DTYPES = ["<f4", ">f4", "<f8", "<f2", "<i8", ">i2", "|u1", "|b1"]
Write = Callable[[Path], object]


@st.composite
def some_arrays(draw: st.DrawFn) -> dict[str, np.ndarray]:
    n_rows = draw(st.integers(1, 4))
    names = draw(st.lists(st.sampled_from(["x", "input_ids", "a.b", "größe"]), min_size=1, unique=True))
    shapes = npst.array_shapes(min_dims=0, max_dims=2, max_side=3)
    return {name: draw(npst.arrays(draw(st.sampled_from(DTYPES)), (n_rows, *draw(shapes)))) for name in names}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some_arrays(), st.data())
def test_a_batch_holds_the_rows_that_were_written(
    tmp_path: Path, arrays: dict[str, np.ndarray], data: st.DataObject
) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy 2.0 has no allow_pickle to give
    rows = TensorRows(path, digest_arrays(read_arrays(path)))
    picked = data.draw(st.lists(st.integers(0, rows.n_rows - 1), min_size=1, max_size=6))
    batch = rows.pad([rows.encode_row(number) for number in picked])
    assert set(batch.arrays) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(batch.arrays[name], array[picked])
        assert batch.arrays[name].dtype == array.dtype.newbyteorder("=")
    assert batch.n_tokens == batch.n_padded_tokens
    if "input_ids" not in arrays:
        assert batch.n_tokens == len(picked)


def test_tokens_with_padding_are_counted_as_before() -> None:
    assert Batch({"input_ids": np.ones((2, 5), dtype=np.int64)}, n_tokens=7).n_padded_tokens == 10


def test_the_digest_is_of_the_content_and_of_nothing_else(tmp_path: Path) -> None:
    x, y = np.arange(6, dtype=np.float32).reshape(3, 2), np.ones(3, dtype=np.int64)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "b.npz", y=y, x=np.asfortranarray(x))
    np.savez(tmp_path / "big.npz", x=x.astype(">f4"), y=y)
    digests = {digest_arrays(read_arrays(tmp_path / name)) for name in ("a.npz", "b.npz", "big.npz")}
    assert len(digests) == 1
    changed: list[dict[str, np.ndarray]] = [
        {"x": x + 1, "y": y},
        {"x": x.T.reshape(3, 2), "y": y},
        {"x": x, "y": y.astype(np.int32)},
        {"z": x, "y": y},
        {"x": x},
    ]
    assert digests.isdisjoint(map(digest_arrays, changed))


def test_another_content_than_planned_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    with pytest.raises(DataError, match=r"found content .* expected content aaaaaaaaaaaa, which was planned"):
        TensorRows(tmp_path / "a.npz", "a" * 64)


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def write_members(**members: bytes) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name.replace("_npy", ".npy"), content)

    return write


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def write_half(path: Path) -> None:
    np.savez(path, x=np.arange(1000.0))
    path.write_bytes(path.read_bytes()[:4000])


def write_spoilt(path: Path) -> None:
    np.savez(path, x=np.zeros(1000))
    content = bytearray(path.read_bytes())
    content[2000] = 7
    path.write_bytes(content)


def write_huge(path: Path) -> None:
    """Write a small file whose directory declares more than the limit."""
    np.savez_compressed(path, x=np.zeros(8))
    content = path.read_bytes()
    at = content.rindex(b"PK\x01\x02") + 24  # uncompressed size in the directory
    path.write_bytes(content[:at] + struct.pack("<I", MAX_BYTES + 1) + content[at + 4 :])


def write_twins(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", npy_bytes(np.ones(2)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("x.npy", npy_bytes(np.ones(2)))


LYING = npy_bytes(np.ones(3)).replace(b"(3,)", b"(9,)")
REFUSED: dict[str, tuple[Write, str]] = {
    "objects": (
        lambda path: np.savez(path, x=np.array([{}, None], dtype=object)),
        "array 'x': found Python objects, a pickle that could run code; expected numbers",
    ),
    "texts": (
        lambda path: np.savez(path, x=np.array(["Ada"])),
        "array 'x': found dtype <U3; expected numbers",
    ),
    "times": (
        lambda path: np.savez(path, x=np.array(["2026-01-01"], dtype="M8[D]")),
        "array 'x': found dtype datetime64[D]; expected numbers",
    ),
    "records": (lambda path: np.savez(path, x=np.zeros(2, dtype=[("a", "f4")])), "expected numbers"),
    "records with names": (
        lambda path: np.savez(path, x=np.zeros(2, dtype=[("größe", "f4"), ("日", "i4")])),
        "expected numbers",
    ),
    "lengths": (
        lambda path: np.savez(path, x=np.ones(2), y=np.ones(1)),
        "found 2 rows in 'x', 1 row in 'y'; expected the same number of rows in every array",
    ),
    "a number": (
        lambda path: np.savez(path, x=np.float32(1)),
        "array 'x': found a single number; expected a leading batch axis, one row a document",
    ),
    "no rows": (lambda path: np.savez(path, x=np.ones((0, 3))), "found arrays without rows"),
    "no arrays": (np.savez, "found no array; expected at least one"),
    "half": (
        write_half,
        "found no ZIP file, or half of one; expected an .npz file; write it with numpy.savez",
    ),
    "spoilt": (write_spoilt, "array 'x': found a damaged array (BadZipFile: Bad CRC-32"),
    "huge": (write_huge, "found 2.00 GiB of arrays; expected at most 2 GiB; keep fewer rows"),
    "twins": (write_twins, "found two arrays named 'x'; expected each name once"),
    "other files": (
        write_members(**{"x_npy": npy_bytes(np.ones(2)), "a.txt": b"hi"}),
        "found 'a.txt', which is not",
    ),
    "no array inside": (write_members(x_npy=b"hi"), "array 'x': found a damaged array (ValueError"),
    "a lying header": (write_members(x_npy=LYING), "array 'x': found a damaged array (ValueError"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1])), "found no ZIP file, or half of one"),
    "nothing": (lambda path: path.write_bytes(b""), "found no ZIP file, or half of one"),
    "missing": (lambda path: None, "found no such file; expected an .npz file; correct its path"),
    "a folder": (lambda path: path.mkdir(), "expected a readable file"),
}


@pytest.mark.parametrize(("write", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_array_of_numbers_is_refused_in_one_line(
    tmp_path: Path, write: Write, message: str
) -> None:
    path = tmp_path / "a.npz"
    write(path)
    with pytest.raises(DataError) as caught:
        read_arrays(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_no_object_is_ever_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([Runs(tmp_path / "ran")], dtype=object))
    with pytest.raises(DataError):
        read_arrays(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_spoilt_file_gives_its_arrays_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((2, 2), dtype=np.float32))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(DataError):
        assert read_arrays(path)["x"].shape[0] > 0
