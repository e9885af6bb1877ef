"""Files of an attempt: a JSON document, and next to it the raw values of its readings as npz."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from bakeoff.core.records import FailedAttempt, Measurement
from bakeoff.errors import DataError

# Errors of a damaged npz file, in addition to OSError and ValueError.
_BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError)
_Attempt: TypeAdapter[Measurement | FailedAttempt] = TypeAdapter(Measurement | FailedAttempt)


def detach_arrays(document: dict[str, Any]) -> bytes:
    """Move the raw values of all readings out of a JSON document into npz bytes."""
    arrays: dict[str, Any] = {}
    for number, reading in enumerate(document["readings"]):
        arrays[f"{number}.values"] = np.asarray(reading.pop("values"), dtype=np.float64)
        arrays[f"{number}.repeats"] = np.asarray(reading.pop("repeats"), dtype=np.int64)
        for name, column in reading.pop("columns").items():
            arrays[f"{number}.columns.{name}"] = np.asarray(column, dtype=np.int64)
        for name, column in reading.pop("numbers").items():
            arrays[f"{number}.numbers.{name}"] = np.asarray(column, dtype=np.float64)
        reading["n"] = len(arrays[f"{number}.values"])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _attach_arrays(document: dict[str, Any], packed: bytes | None) -> None:
    arrays: Mapping[str, Any] = {}
    if packed is not None:
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            arrays = dict(archive)
    for number, reading in enumerate(document["readings"]):
        del reading["n"]
        reading["values"] = arrays[f"{number}.values"].tolist() if arrays else []
        reading["repeats"] = arrays[f"{number}.repeats"].tolist() if arrays else []
        for field in ("columns", "numbers"):
            prefix = f"{number}.{field}."
            reading[field] = {
                name.removeprefix(prefix): column.tolist()
                for name, column in arrays.items()
                if name.startswith(prefix)
            }


def read_attempt(path: Path, *, with_arrays: bool = True) -> Measurement | FailedAttempt:
    """Read an attempt.

    Args:
        path: Path of its document.
        with_arrays: Whether to read the raw values too.
    """
    arrays = path.with_suffix(".npz")
    try:
        packed = arrays.read_bytes() if with_arrays and arrays.is_file() else None
        document = path.read_bytes()
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return parse_attempt(document, packed, str(path), needs_arrays=with_arrays)


def parse_attempt(
    document: bytes, packed: bytes | None, place: str, *, needs_arrays: bool = True
) -> Measurement | FailedAttempt:
    """Read an attempt from the bytes of its files.

    Args:
        document: Content of the JSON file.
        packed: Content of the npz file; None or empty if it is missing.
        place: Origin of the bytes, for messages.
        needs_arrays: Whether to refuse readings without raw values.
    """
    try:
        values = json.loads(document)
        if "readings" in values:
            if needs_arrays and not packed:
                raise ValueError("the raw values are missing")  # noqa: TRY301 - reported like every other fault
            _attach_arrays(values, packed or None)
        return _Attempt.validate_python(values, strict=False)
    except (ValueError, KeyError, TypeError, *_BROKEN_ARCHIVE) as error:
        raise _unreadable(place, error) from error


def _unreadable(place: str, error: Exception) -> DataError:
    return DataError(
        place,
        found=f"no readable attempt ({type(error).__name__}: {str(error)[:200]})",
        expected="a file that `bakeoff bench` wrote; move the file away to measure the job again",
    )
