"""Exports: a table as the bytes of a file for spreadsheets, scripts and data frames."""

from __future__ import annotations

import csv
import io
import json
from importlib.util import find_spec
from typing import Literal

from bakeoff.core.tables import Cell, FlatTable, What
from bakeoff.errors import MissingExtraError

Format = Literal["csv", "json", "parquet"]
FORMAT_VERSION = 2
# A spreadsheet runs a cell that begins like this as a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def encode_frame(frame: FlatTable, what: What, form: Format) -> bytes:
    """Encode a table as a whole file.

    Args:
        frame: Columns of the table.
        what: Kind of the rows, named in the file if the format has a place for it.
        form: CSV, JSON (one object a row) or Parquet. CSV follows RFC 4180 in UTF-8, with numbers in full
            precision and an apostrophe before text that a spreadsheet would run as a formula.

    Raises:
        MissingExtraError: Parquet needs pyarrow, which is not installed.
    """
    match form:
        case "csv":
            return _encode_csv(frame)
        case "json":
            return _encode_json(frame, what)
        case "parquet":
            return _encode_parquet(frame, what)


def _encode_csv(frame: FlatTable) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([_guard(name) for name in frame.columns])
    writer.writerows([_guard(cell) for cell in row] for row in frame.rows)
    return text.getvalue().encode()


def _guard(cell: Cell) -> Cell:
    """Make text safe from spreadsheets, which run formulas; numbers stay numbers, a negative one too."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def _encode_json(frame: FlatTable, what: What) -> bytes:
    rows = [dict(zip(frame.columns, row, strict=True)) for row in frame.rows]
    document = {"format_version": FORMAT_VERSION, "what": what, "rows": rows}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _encode_parquet(frame: FlatTable, what: What) -> bytes:
    if find_spec("pyarrow") is None:
        raise MissingExtraError("export to Parquet", library="pyarrow", extra="parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: pa.array(column) for name, column in frame.columns.items()})
    table = table.replace_schema_metadata(
        {"bakeoff.format_version": str(FORMAT_VERSION), "bakeoff.what": what}
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
