"""JSON files: one value a line, one list, or one object."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bakeoff.errors import DataError
from bakeoff.measure.tasks.rows import Row

BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 4096
_LINES = "one JSON list, or one JSON object a line"
_KINDS = {list: "a list", bool: "true or false", int: "a number", float: "a number", type(None): "null"}


def read_json(path: Path) -> list[Row]:
    """Read a file with one JSON value a line, or one JSON list.

    Raises:
        DataError: A value is not JSON, or neither an object nor a text.
    """
    with path.open("rb") as file:
        if file.read(_HEAD_BYTES).removeprefix(BOM).lstrip().startswith(b"["):
            values = load_json(str(path), path.read_bytes().removeprefix(BOM), _LINES)
            return [_row(f"{path}: document {number}", value) for number, value in enumerate(values, 1)]
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
    try:
        value = load_json(str(path), path.read_bytes().removeprefix(BOM), _LINES)
    except DataError:
        raise fault from None
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        found = "one JSON object with a list in 'data'"
        raise DataError(str(path), found=found, expected=f"{_LINES}; write the list alone")
    return [_row(f"{path}: document 1", value)]


def load_json(place: str, text: bytes, expected: str) -> Any:
    """Parse JSON in UTF-8; NaN, which pandas writes for a missing value, becomes null.

    Raises:
        DataError: It is not JSON.
    """
    try:
        value = _DECODER.decode(text.decode())
        if b"\\u" in text:  # half of a surrogate pair is JSON, but not text
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        found = f"bytes that are not UTF-8 ({error.reason}, byte {error.start + 1})"
        raise DataError(place, found=found, expected="UTF-8; save the file in UTF-8") from None
    except UnicodeEncodeError:
        found = "half of a surrogate pair"
        raise DataError(place, found=found, expected="text; correct the \\u escape") from None
    except (ValueError, RecursionError) as error:
        raise DataError(place, found=f"invalid JSON ({error})", expected=expected) from None
    return value


def _read_constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"{name} is not a JSON number")


# json.loads would make one for each line.
_DECODER = json.JSONDecoder(parse_constant=_read_constant)


def _row(place: str, value: Any) -> Row:
    if isinstance(value, dict | str):
        return Row(place, value)
    raise DataError(place, found=_KINDS[type(value)], expected="one JSON object")
