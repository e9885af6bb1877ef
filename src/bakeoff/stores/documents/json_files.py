"""JSON files: one value a line, one list, or one object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bakeoff.errors import DataError
from bakeoff.measure.tasks.rows import Row

BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 4096
_LINES = "one JSON list, or one JSON object a line"
_HALF, _HALF_FIX = "half of a surrogate pair", "text; correct the \\u escape"
# Escapes of JSON strings, a whole pair at once; an escaped backslash keeps its u from being one.
_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL
)
_LONE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_KINDS = {list: "a list", bool: "true or false", int: "a number", float: "a number", type(None): "null"}


def read_json(path: Path) -> list[Row]:
    """Read a file with one JSON value a line, or one JSON list.

    Raises:
        DataError: A value is not JSON, or neither an object nor a text.
    """
    with path.open("rb") as file:
        if file.read(_HEAD_BYTES).removeprefix(BOM).lstrip().startswith(b"["):
            return _read_list(path)
        file.seek(0)
        rows = list[Row]()
        for number, line in enumerate(file, 1):  # a binary file is split at \n alone
            content = line.removeprefix(BOM) if number == 1 else line
            if content.strip():
                place = f"{path}:{number}"
                try:
                    value = load_json(place, content, "one JSON object")
                except DataError as fault:
                    if rows:
                        raise
                    return _read_object(path, fault)
                rows.append(_row(place, value))
    return rows


def write_rows(rows: Iterable[Row]) -> str:
    """Write rows as JSON Lines, which give the same rows when they are read.

    Raises:
        DataError: JSON has no form for a value.
    """
    return "".join(_write(row) for row in rows)


def _write(row: Row) -> str:
    try:
        return json.dumps(row.values, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        found = f"a value without a form in JSON ({error})"
        raise DataError(row.place, found=found, expected="JSON values; remove its field") from None


def _read_object(path: Path, fault: DataError) -> list[Row]:
    """Read a file that is one object over several lines, such as one task of Label Studio."""
    text = path.read_bytes().removeprefix(BOM)
    try:
        value = _parse(str(path), text, _LINES)
    except DataError:
        raise fault from None
    _refuse_halves(path, value, text)
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        found = "one JSON object with a list in 'data'"
        raise DataError(str(path), found=found, expected=f"{_LINES}; write the list alone")
    return [_row(f"{path}: document 1", value)]


def _read_list(path: Path) -> list[Row]:
    text = path.read_bytes().removeprefix(BOM)
    values = _parse(str(path), text, _LINES)
    _refuse_halves(path, values, text)
    return [_row(f"{path}: document {number}", value) for number, value in enumerate(values, 1)]


def _refuse_halves(path: Path, value: Any, text: bytes) -> None:
    """Refuse half of a surrogate pair in a file, with its line."""
    if _has_half(value, text):
        decoded = text.decode()
        halves = (each for each in _ESCAPES.finditer(decoded) if _LONE.fullmatch(each.group()))
        line = next((decoded.count("\n", 0, each.start()) + 1 for each in halves), 1)
        raise DataError(f"{path}:{line}", found=_HALF, expected=_HALF_FIX)


def load_json(place: str, text: bytes, expected: str) -> Any:
    """Parse JSON in UTF-8; NaN, which pandas writes for a missing value, becomes null.

    Raises:
        DataError: It is not JSON, or not text.
    """
    value = _parse(place, text, expected)
    if _has_half(value, text):
        raise DataError(place, found=_HALF, expected=_HALF_FIX)
    return value


def _parse(place: str, text: bytes, expected: str) -> Any:
    try:
        return _DECODER.decode(text.decode())
    except UnicodeDecodeError as error:
        found = f"bytes that are not UTF-8 ({error.reason}, byte {error.start + 1})"
        raise DataError(place, found=found, expected="UTF-8; save the file in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise DataError(place, found=f"invalid JSON ({error})", expected=expected) from None


def _has_half(value: Any, text: bytes) -> bool:
    """Return whether a parsed value has half of a surrogate pair, which is JSON, but not text."""
    if b"\\u" not in text:  # only an escape can stand for it
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _read_constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"{name} is not a JSON number")


# json.loads would make one for each line.
_DECODER = json.JSONDecoder(parse_constant=_read_constant)


def _row(place: str, value: Any) -> Row:
    if isinstance(value, dict | str):
        return Row(place, value)
    raise DataError(place, found=_KINDS[type(value)], expected="one JSON object")
