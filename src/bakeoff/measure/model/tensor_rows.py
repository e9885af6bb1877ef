"""Tensors that you give: the rows of an ``.npz`` file, as inputs of a graph without a tokenizer."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bakeoff.disk.digest import canonical_json, shorten
from bakeoff.disk.inputs import open_regular
from bakeoff.errors import DataError
from bakeoff.measure.model.graph import Graph
from bakeoff.measure.model.tokenizer import INPUT_NAMES, Batch, Encoding
from bakeoff.plural import count

Arrays = Mapping[str, NDArray[Any]]
MAX_BYTES = 2 << 30  # of all arrays: every process of a heat holds them in memory
_SUFFIX = ".npy"
_NUMBERS = "biufc"  # kinds of dtype: bool, int, unsigned int, float, complex
_WRITE = "write it with numpy.savez"


class TensorRows:
    """Rows of a file of arrays, for models that read no text.

    It stands in for ``Encoder``: a row is encoded as its number, and a batch is padded by nothing.

    Args:
        path: File in the format of ``numpy.savez``.
        digest: Digest of its content, as ``digest_arrays`` returns it.

    Raises:
        DataError: The file is missing, damaged, or has another content.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._arrays = read_arrays(path)
        found = digest_arrays(self._arrays)
        if found != digest:
            raise DataError(
                str(path),
                found=f"content {shorten(found)}",
                expected=f"content {shorten(digest)}, which was planned; run the command again",
            )

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return count_rows(self._arrays)

    def require_inputs(self, graph: Graph, path: Path) -> None:
        """Check that there is an array for every input of a graph, with its dtype and the shape of its rows.

        Args:
            graph: Graph that reads the rows.
            path: Path of the file, for messages.

        Raises:
            DataError: An array is missing or does not fit.
        """
        for value in graph.inputs:
            if not value.shape or (value.shape[0] or 1) > 1:
                raise DataError(
                    str(path),
                    found=f"a graph with the input {value.described}, whose first axis is not the batch",
                    expected="inputs with a leading batch axis; export the graph with one",
                )
            array = self._arrays.get(value.name)
            if array is None:
                found, wanted = ", ".join(map(repr, self._arrays)), value.described
                raise DataError(str(path), found=f"arrays {found}", expected=f"one for the input {wanted}")
            place, dtype = f"{path}: array {value.name!r}", str(array.dtype)
            # Sessions make ids of 32 bits themselves.
            if dtype != value.dtype and (dtype, value.dtype) != ("int64", "int32"):
                raise DataError(place, found=f"dtype {dtype}", expected=f"{value.dtype}, as the graph reads")
            sizes = zip(value.shape[1:], array.shape[1:], strict=False)
            if array.ndim != len(value.shape) or any(size not in {None, there} for size, there in sizes):
                found = f"[{', '.join(['rows', *map(str, array.shape[1:])])}]"
                raise DataError(place, found=found, expected=f"the shape of {value.described}")

    def encode_row(self, row: int) -> Encoding:
        """Encode one row as its number."""
        return Encoding(ids=(row,), type_ids=())

    def pad(self, encodings: Sequence[Encoding]) -> Batch:
        """Stack rows, each array with its own dtype: [rows, ...]."""
        numbers = [encoding.ids[0] for encoding in encodings]
        arrays = {name: array[numbers] for name, array in self._arrays.items()}
        ids = arrays.get(INPUT_NAMES[0])
        # Which of given ids are padding is not known: all count, so that no share of padding is made up.
        return Batch(arrays, n_tokens=len(numbers) if ids is None else int(ids.size))


def count_rows(arrays: Arrays) -> int:
    """Count the rows of arrays that share a leading axis."""
    return len(next(iter(arrays.values())))


def digest_arrays(arrays: Arrays) -> str:
    """Digest names, dtypes, shapes and values; neither path nor compression counts."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(canonical_json([name, array.dtype.str, list(array.shape)]))
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file that ``numpy.savez`` wrote; nothing in it can run code.

    Returns:
        Arrays of numbers by name, all [rows, ...], in the byte order of this machine.

    Raises:
        DataError: The file is missing, damaged, or empty; or it holds something else than arrays of numbers
            with the same number of rows, or more than ``MAX_BYTES``.
    """
    try:
        with open_regular(path, MAX_BYTES) as raw, zipfile.ZipFile(raw) as file:
            members = file.infolist()
            _check_members(path, members)
            arrays = {
                member.filename.removesuffix(_SUFFIX): _read_array(path, file, member) for member in members
            }
    except FileNotFoundError:
        raise DataError(str(path), found="no such file", expected="an .npz file; correct its path") from None
    except DataError:
        raise
    except OSError as error:
        raise DataError(str(path), found=str(error), expected="a readable file") from error
    except Exception as error:  # a damaged directory raises errors of zipfile, struct and decoding
        found = f"a damaged ZIP file ({_shorten(error)})"
        found = found if zipfile.is_zipfile(path) else "no ZIP file, or half of one"
        raise DataError(str(path), found=found, expected=f"an .npz file; {_WRITE}") from error
    _check_rows(path, arrays)
    return arrays


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if not names:
        raise DataError(str(path), found="no array", expected="at least one")
    others = [name for name in names if not name.endswith(_SUFFIX)]
    if others:
        raise DataError(str(path), found=f"{others[0]!r:.80}, which is not an array", expected="arrays alone")
    twins = [name for name in names if names.count(name) > 1]
    if twins:
        found = f"two arrays named {twins[0].removesuffix(_SUFFIX)!r:.80}"
        raise DataError(str(path), found=found, expected="each name once")
    n_bytes = sum(member.file_size for member in members)
    if n_bytes > MAX_BYTES:
        raise DataError(
            str(path),
            found=f"{n_bytes / 2**30:.2f} GiB of arrays",
            expected=f"at most {MAX_BYTES >> 30} GiB; keep fewer rows",
        )


def _read_array(path: Path, file: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    place = f"{path}: array {member.filename.removesuffix(_SUFFIX)!r:.80}"
    try:
        with file.open(member) as header:
            dtype = _read_dtype(header)
        if dtype is not None and dtype.kind in _NUMBERS:
            with file.open(member) as whole:
                array = npy.read_array(whole, allow_pickle=False)
            return np.asarray(array, dtype=dtype.newbyteorder("="))
    except Exception as error:  # a damaged member raises errors of zipfile, zlib and numpy
        found = f"a damaged array ({_shorten(error)})"
        raise DataError(place, found=found, expected=f"numbers; {_WRITE}") from error
    if dtype is not None and dtype.hasobject:
        raise DataError(place, found="Python objects, a pickle that could run code", expected="numbers")
    raise DataError(place, found=f"dtype {dtype or 'of records'}", expected="numbers")


def _read_dtype(file: IO[bytes]) -> np.dtype[Any] | None:
    """Read the dtype from the header of an array; None for records, which alone have a newer header."""
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)[2]
    return npy.read_array_header_2_0(file)[2] if version == (2, 0) else None


def _shorten(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]


def _check_rows(path: Path, arrays: Arrays) -> None:
    for name, array in arrays.items():
        if array.ndim == 0:
            raise DataError(
                f"{path}: array {name!r:.80}",
                found="a single number",
                expected="a leading batch axis, one row a document",
            )
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{count(length, 'row')} in {name!r:.40}" for name, length in lengths.items())
        raise DataError(str(path), found=found[:200], expected="the same number of rows in every array")
    if not count_rows(arrays):
        raise DataError(str(path), found="arrays without rows", expected="at least one row")
