"""CSV and TSV files: a header, then one row a record."""

from __future__ import annotations

import csv
from pathlib import Path

from bakeoff.errors import DataError
from bakeoff.measure.tasks.rows import Row
from bakeoff.plural import count

_DELIMITERS = ",;\t"


def read_csv(path: Path) -> list[Row]:
    """Read a file with a header; every cell is text, and an empty one is a missing value.

    Commas separate the cells, or semicolons or tabs if the header has more of these.

    Raises:
        DataError: The header is faulty, a record has too few or too many cells, or a quote is not closed.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            delimiter = "\t" if path.suffix.lower() == ".tsv" else find_delimiter(header) or ","
            return _read_records(path, csv.reader(file, delimiter=delimiter, strict=True))
    except UnicodeDecodeError:
        raise _find_wrong_line(path) from None


def find_delimiter(header: str) -> str | None:
    """Return what separates the names of a header; None if nothing does."""
    best = max(_DELIMITERS, key=header.count)
    return best if best in header else None


def _read_records(path: Path, reader: csv._reader) -> list[Row]:  # type: ignore[name-defined]
    rows, names, line = list[Row](), None, 1
    try:
        for record in reader:
            if names is None:
                names = _read_header(path, record)
            elif record:
                if len(record) != len(names):
                    raise DataError(
                        f"{path}:{line}",
                        found=count(len(record), "cell"),
                        expected=f"{len(names)}, as in the header; quote a cell that has the separator in it",
                    )
                cells = zip(names, record, strict=True)
                rows.append(Row(f"{path}:{line}", {name: cell or None for name, cell in cells if name}))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{line}",
            found=f"a faulty record ({error})",
            expected='cells in quotes, with "" for a quote in them; correct the quotes',
        ) from None
    return rows


def _read_header(path: Path, record: list[str]) -> list[str]:
    """Return the names of the columns; an index that pandas wrote first has none, and is skipped."""
    names = [name.strip() for name in record]
    unnamed = [number for number, name in enumerate(names, 1) if not name and number > 1]
    if unnamed or not any(names):
        found = f"no name for column {unnamed[0] if unnamed else 1}"
        raise DataError(f"{path}:1", found=found, expected="a header with a name for each column; add it")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        found = f"the column {duplicates[0]!r} several times"
        raise DataError(f"{path}:1", found=found, expected="different names; rename or remove one")
    return names


def _find_wrong_line(path: Path) -> DataError:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                found = f"bytes that are not UTF-8 ({error.reason}, byte {error.start + 1} of the line)"
                return DataError(f"{path}:{number}", found=found, expected="UTF-8; save the file in UTF-8")
    return DataError(str(path), found="bytes that are not UTF-8", expected="UTF-8; save the file in UTF-8")
