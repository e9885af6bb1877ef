"""Files of an attempt: a JSON document, and next to it the raw values of its readings as npz.

The document ends with the digest of its own bytes and names the digest of the npz file. It also names job and
attempt, so that neither file can stand in for another one.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bakeoff.core.records import FailedAttempt, Measurement
from bakeoff.disk.inputs import UnsuitableFileError, read_regular
from bakeoff.disk.sealed import SEAL, open_sealed, seal_json
from bakeoff.errors import DamagedResultError, DataError, StorageError

MAX_DOCUMENT_BYTES = 64 << 20
MAX_ARRAYS_BYTES = 1 << 30  # packed or unpacked
ARRAYS_SEAL = "arrays_sha256"
_VERSION = "format_version"
_OF_READINGS = {"values": np.dtype(np.float64), "repeats": np.dtype(np.int64)}
_OF_COLUMNS = {"columns": np.dtype(np.int64), "numbers": np.dtype(np.float64)}
_Attempt: TypeAdapter[Measurement | FailedAttempt] = TypeAdapter(Measurement | FailedAttempt)


def encode_attempt(attempt: Measurement | FailedAttempt) -> tuple[bytes, bytes]:
    """Write an attempt as the bytes of its two files: the document, and the raw values if it has any."""
    document = attempt.model_dump(mode="json")
    if isinstance(attempt, FailedAttempt) and not attempt.readings:
        del document["readings"]
        return seal_json(document), b""
    arrays = _detach_arrays(document)
    return seal_json({**document, ARRAYS_SEAL: hashlib.sha256(arrays).hexdigest()}), arrays


def read_attempt(path: Path, *, with_arrays: bool = True) -> Measurement | FailedAttempt:
    """Read an attempt; both files are checked against their digests.

    Args:
        path: Path of its document.
        with_arrays: Whether to unpack the raw values too.

    Raises:
        DamagedResultError: A file is not as bakeoff wrote it.
        DataError: Another version of bakeoff wrote it.
        FileNotFoundError: The document is missing.
        StorageError: The disk did not let it be read.
    """
    arrays = path.with_suffix(".npz")
    document = _read(path, MAX_DOCUMENT_BYTES)
    try:
        packed = _read(arrays, MAX_ARRAYS_BYTES)
    except FileNotFoundError:
        packed = b""
    return parse_attempt(document, packed, str(path), with_arrays=with_arrays)


def parse_attempt(
    document: bytes, packed: bytes, place: str, *, with_arrays: bool = True
) -> Measurement | FailedAttempt:
    """Read an attempt from the bytes of its files.

    Args:
        document: Content of the JSON file.
        packed: Content of the npz file; empty if it is missing.
        place: Origin of the bytes, for messages.
        with_arrays: Whether to unpack the raw values too.

    Raises:
        DamagedResultError: The bytes are not those that bakeoff wrote.
        DataError: Another version of bakeoff wrote them.
    """
    try:
        values = open_sealed(document)
    except ValueError as error:
        raise DamagedResultError(place, found=_explain_unsealed(document, place, error)) from error
    _refuse_other_version(values, place)
    wanted = values.pop(ARRAYS_SEAL, None)
    if wanted is not None and hashlib.sha256(packed).hexdigest() != wanted:
        found = "raw values that differ from their digest" if packed else "no raw values"
        raise DamagedResultError(str(Path(place).with_suffix(".npz")), found=found)
    try:
        if "readings" in values:
            _attach_arrays(values, packed if with_arrays else None)
        return _Attempt.validate_python(values, strict=False)
    # Only a file that was written on purpose gets here: its digests are right.
    except Exception as error:
        raise DamagedResultError(place, found=_explain(error)) from error


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        return read_regular(path, max_bytes, follows_links=False)
    except FileNotFoundError:
        raise
    except UnsuitableFileError as error:
        raise DamagedResultError(str(path), found=str(error)) from error
    except OSError as error:
        raise StorageError(path, action="reading", error=error) from error


def _detach_arrays(document: dict[str, Any]) -> bytes:
    """Move the raw values of all readings out of a JSON document into npz bytes."""
    arrays: dict[str, Any] = {}
    for number, reading in enumerate(document["readings"]):
        reading["n"] = len(reading["values"])
        for field, dtype in _OF_READINGS.items():
            arrays[f"{number}.{field}"] = np.asarray(reading.pop(field), dtype=dtype)
        for field, dtype in _OF_COLUMNS.items():
            for name, column in reading.pop(field).items():
                arrays[f"{number}.{field}.{name}"] = np.asarray(column, dtype=dtype)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _attach_arrays(document: dict[str, Any], packed: bytes | None) -> None:
    lengths = [reading.pop("n") for reading in document["readings"]]
    arrays = {} if packed is None else _unpack(packed, lengths)
    for number, reading in enumerate(document["readings"]):
        for field in _OF_READINGS:
            reading[field] = arrays[f"{number}.{field}"].tolist() if packed is not None else []
        for field in _OF_COLUMNS:
            prefix = f"{number}.{field}."
            reading[field] = {
                name.removeprefix(prefix): column.tolist()
                for name, column in arrays.items()
                if name.startswith(prefix)
            }


def _unpack(packed: bytes, lengths: list[int]) -> Mapping[str, NDArray[Any]]:
    """Unpack arrays whose length and dtype the document says; a header cannot ask for more memory."""
    arrays: dict[str, NDArray[Any]] = {}
    left_bytes = MAX_ARRAYS_BYTES
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            number, field, *_ = name.split(".")
            n, dtype = lengths[int(number)], (_OF_READINGS | _OF_COLUMNS)[field]
            left_bytes -= member.file_size
            if name in arrays or left_bytes < 0:
                raise ValueError(f"array {name} is a duplicate, or too large")
            with archive.open(member) as file:
                if npy.read_magic(file) != (1, 0) or npy.read_array_header_1_0(file) != ((n,), False, dtype):
                    raise ValueError(f"array {name} is not {n} numbers of {dtype}")
                arrays[name] = np.frombuffer(file.read(), dtype=dtype)
            if len(arrays[name]) != n:
                raise ValueError(f"array {name} is incomplete")
    return arrays


def _explain_unsealed(document: bytes, place: str, error: ValueError) -> str:
    """Explain what is wrong with a document; refuse one of a version without digests, which is whole."""
    damaged = f"a damaged file ({error})"
    try:
        values = json.loads(document)
    except (ValueError, RecursionError):
        return damaged
    if not isinstance(values, dict) or SEAL in values:
        return damaged
    if "job" not in values:
        return "no readable attempt (a file of another kind)"
    _refuse_other_version(values, place)
    return damaged


def _refuse_other_version(values: Mapping[str, Any], place: str) -> None:
    version = values.get(_VERSION)
    kind = Measurement if "measured_at" in values else FailedAttempt
    own: int = kind.model_fields[_VERSION].default
    if isinstance(version, int) and version != own:
        raise DataError(
            place,
            found=f"format {version}, which another version of bakeoff wrote",
            expected=f"format {own}; move the folder {Path(place).parent} away to measure again",
        )


def _explain(error: Exception) -> str:
    return f"no readable attempt ({type(error).__name__}: {str(error)[:200]})"
