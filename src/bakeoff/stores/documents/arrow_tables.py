"""Arrow tables: columns of a Parquet file or of a folder of datasets become rows of JSON values."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

from bakeoff.errors import DataError, MissingExtraError
from bakeoff.measure.tasks.rows import Row

# Some bytes of a compressed file can stand for any number of rows or bytes.
MOST_ROWS = 20_000_000
MOST_BYTES = 4 << 30
_BATCH_ROWS = 1000
_METADATA = b"huggingface"


def import_pyarrow(part: str) -> Any:
    """Import pyarrow with its readers.

    Raises:
        MissingExtraError: It is not installed.
    """
    if find_spec("pyarrow") is None:
        raise MissingExtraError(part, library="pyarrow", extra="parquet")
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    return pa


def read_parquet(path: Path) -> list[Row]:
    """Read the rows of a Parquet file; lists stay lists, and times become text.

    Raises:
        DataError: The file is damaged, too large, or has a value that JSON cannot hold.
        MissingExtraError: pyarrow is not installed.
    """
    pa = import_pyarrow("Parquet")
    with naming_faults(path, "a Parquet file"), pa.parquet.ParquetFile(path) as file:
        metadata = file.metadata
        rows = ArrowRows(path, read_label_names(_read_features(file.schema_arrow.metadata)))
        sizes = [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
        rows.require_room(metadata.num_rows, sum(sizes))
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            rows.add(batch)
        if len(rows.rows) != metadata.num_rows:
            found = f"{len(rows.rows):,} rows where its end says {metadata.num_rows:,}"
            raise DataError(str(path), found=found, expected="a complete Parquet file; write it again")
    return rows.rows


@contextmanager
def naming_faults(path: Path, expected: str) -> Iterator[None]:
    """Name the file in each fault that pyarrow finds."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(str(path), found=reason, expected=f"{expected}; write it again") from None


def read_label_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of class labels, or of those in lists, by column.

    Args:
        features: Features as ``datasets`` describes them in JSON.
    """
    found = {}
    for column, feature in features.items():
        inner, item = None, feature
        while item is not None:  # a loop, since a file can nest them at any depth
            inner, item = item, _item_of(item)
        match inner:
            case {"_type": "ClassLabel", "names": [*names]} if all(isinstance(name, str) for name in names):
                found[column] = names
    return found


def _item_of(feature: object) -> object:
    """Return the feature of the items of a list; None if the feature is not a list."""
    match feature:
        case {"feature": item} | [item]:
            return item
    return None


class ArrowRows:
    """Rows of the batches so far.

    Args:
        path: File or folder, for messages.
        names: Names of class labels by column, in place of their numbers.
    """

    def __init__(self, path: Path, names: Mapping[str, Sequence[str]]) -> None:
        self.rows = list[Row]()
        self._path = path
        self._names = names
        self._n_bytes = 0

    def require_room(self, n_rows: int, n_bytes: int) -> None:
        """Check the size that a file has once it is read.

        Raises:
            DataError: It is too large.
        """
        if n_rows > MOST_ROWS or n_bytes > MOST_BYTES:
            found = f"{n_rows:,} rows of {n_bytes / (1 << 30):,.1f} GiB"
            expected = f"at most {MOST_ROWS:,} rows of {MOST_BYTES >> 30} GiB; write fewer rows or columns"
            raise DataError(str(self._path), found=found, expected=expected)

    def add(self, batch: Any) -> None:
        """Add the rows of a record batch.

        Raises:
            DataError: The batch is too large, has a column twice, or a value that JSON cannot hold.
        """
        batch.validate(full=True)  # first: wrong offsets end the process
        self._n_bytes += batch.nbytes + sum(map(_weigh_items, batch.columns))
        self.require_room(len(self.rows) + batch.num_rows, self._n_bytes)
        names = batch.schema.names
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            found = f"the column {duplicates[0]!r} several times"
            raise DataError(str(self._path), found=found, expected="different names; rename or remove one")
        first = len(self.rows) + 1
        columns = [
            self._read_column(name, column, first) for name, column in zip(names, batch.columns, strict=True)
        ]
        for number, values in enumerate(zip(*columns, strict=True), first):
            self.rows.append(Row(self._place(number), dict(zip(names, values, strict=True))))

    def _place(self, number: int) -> str:
        return f"{self._path}: row {number}"

    def _read_column(self, name: str, column: Any, first: int) -> Sequence[object]:
        values = _list_values(column)
        names = self._names.get(name)
        if names is None and _is_plain(column.type):
            return values
        read = []
        for number, value in enumerate(values, first):
            place = f"{self._place(number)}: field {name!r}"
            read.append(_make_plain(place, value) if names is None else _name(place, value, names))
        return read


def _is_plain(kind: Any) -> bool:
    """Return whether the values of a type are JSON as they are."""
    from pyarrow import types

    if any(check(kind) for check in (types.is_list, types.is_large_list, types.is_fixed_size_list)):
        return _is_plain(kind.value_type)
    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    checks = (types.is_string, types.is_large_string, types.is_integer, types.is_boolean, types.is_null)
    return any(check(kind) for check in checks)


def _make_plain(place: str, value: Any) -> object:
    """Return a value as JSON can hold it; NaN is a missing value, as pandas means it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if math.isinf(value):
                raise DataError(place, found=str(value), expected="a finite number; remove the row")
            return None if math.isnan(value) else value
        case list() | tuple() | dict():
            return _make_items_plain(place, value)
        case dt.datetime() | dt.date() | dt.time():
            return str(value.isoformat())
        case Decimal() | UUID() | dt.timedelta():
            return str(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                pass
    expected = "text, numbers, times, or lists of them; remove the column"
    raise DataError(place, found=f"{type(value).__name__} {value!r}"[:60], expected=expected)


def _make_items_plain(place: str, value: Any) -> object:
    if isinstance(value, dict):
        return {str(name): _make_plain(place, item) for name, item in value.items()}
    return [_make_plain(place, item) for item in value]


def _name(place: str, value: object, names: Sequence[str]) -> object:
    """Replace the numbers of class labels by their names; -1 is a missing label, as ``datasets`` means it."""
    if isinstance(value, list):
        return [_name(place, item, names) for item in value]
    if value is None or value == -1:
        return None
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    raise DataError(
        place, found=repr(value)[:60], expected=f"0 to {len(names) - 1}, the numbers of its labels"
    )


def _list_values(column: Any) -> list[object]:
    """List the values of a column; repeated values of a dictionary are one object."""
    from pyarrow import types

    if not types.is_dictionary(column.type):
        return list(column.to_pylist())
    known = column.dictionary.to_pylist()
    return [None if index is None else known[index] for index in column.indices.to_pylist()]


def _weigh_items(column: Any) -> int:
    """Return the bytes of the references that the lists of a column need: nulls need nothing else."""
    from pyarrow import types

    weight = 0
    while any(check(column.type) for check in (types.is_list, types.is_large_list, types.is_fixed_size_list)):
        column = column.flatten()
        weight += 8 * len(column)
    return weight


def _read_features(metadata: Mapping[bytes, bytes] | None) -> Mapping[str, Any]:
    """Return the features that ``Dataset.to_parquet`` notes in a file; none if another program wrote it."""
    try:
        features = json.loads((metadata or {})[_METADATA])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, Mapping) else {}
