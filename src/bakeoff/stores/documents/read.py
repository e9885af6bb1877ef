"""Read a file of documents as rows, one a record, in any of the common formats."""

from __future__ import annotations

from pathlib import Path

from bakeoff.core.config.data import DataFormat
from bakeoff.errors import DataError
from bakeoff.measure.tasks.rows import Row
from bakeoff.stores.documents.annotation_tools import translate_exports
from bakeoff.stores.documents.arrow_tables import read_parquet
from bakeoff.stores.documents.conll import read_conll
from bakeoff.stores.documents.csv_files import read_csv
from bakeoff.stores.documents.datasets_folder import read_datasets_folder
from bakeoff.stores.documents.fields import Fields
from bakeoff.stores.documents.json_files import read_json
from bakeoff.stores.documents.npz_files import read_npz
from bakeoff.stores.documents.recognise import TABLE_WITH_TABS, Appearance, recognise

_SUFFIXES: dict[str, DataFormat] = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".npz": "npz",
}
_KINDS: dict[DataFormat, str] = {
    "json": "JSON",
    "csv": "CSV",
    "parquet": "Parquet",
    "datasets": "a folder that datasets saved",
    "conll": "CoNLL columns",
    "npz": "arrays of NumPy",
}
_DEFAULTS = Fields()


def read_rows(path: Path, form: DataFormat | None = None, fields: Fields = _DEFAULTS) -> list[Row]:
    """Read the rows of a file or folder; their values are JSON values.

    Args:
        path: File with one JSON value a line or one JSON list, CSV, Parquet, CoNLL columns or arrays of
            NumPy; or a folder that ``Dataset.save_to_disk`` wrote. Exports of doccano and Label Studio are
            JSON. A row of arrays is a reference to its place in the file.
        form: Format; None takes it from the suffix, or from a folder. A file with another suffix is read if
            it is JSON.
        fields: Names of the fields that CoNLL columns and annotation tools fill in.

    Raises:
        DataError: The file is missing, in another format, damaged, or empty.
    """
    look = recognise(path)
    taken = _choose(path, form, look)
    is_certain = look.is_certain or (look.format, taken) == ("conll", "csv")
    # A damaged .npz file looks like any ZIP file: its reader knows better what is wrong.
    if look.format != taken and is_certain and taken != "npz":
        raise _explain_mismatch(path, taken, look)  # tags without a header would pass for a table
    try:
        rows = _read(path, taken, fields)
    except DataError:
        if look.format in {None, taken} or (taken == "conll" and look == TABLE_WITH_TABS):
            raise
        raise _explain_mismatch(path, taken, look) from None
    except OSError as error:
        raise DataError(str(path), found=str(error), expected="a readable file") from error
    if not rows:
        raise DataError(str(path), found="no document", expected="at least one")
    return rows


def _choose(path: Path, form: DataFormat | None, look: Appearance) -> DataFormat:
    chosen = form or (None if path.is_dir() else _SUFFIXES.get(path.suffix.lower()))
    if chosen:
        return "json" if chosen == "jsonl" else chosen
    if look.format in {"json", "datasets", "npz"}:
        return look.format
    raise DataError(
        str(path),
        found=f"{look.words}, with a suffix of no known format",
        expected=f"one of {', '.join(_SUFFIXES)}; {_advise(look)}",
    )


def _read(path: Path, form: DataFormat, fields: Fields) -> list[Row]:
    match form:
        case "csv":
            return read_csv(path)
        case "parquet":
            return read_parquet(path)
        case "datasets":
            return read_datasets_folder(path)
        case "conll":
            return read_conll(path, fields)
        case "npz":
            return read_npz(path)
    return translate_exports(read_json(path), fields)


def _explain_mismatch(path: Path, taken: DataFormat, look: Appearance) -> DataError:
    return DataError(str(path), found=look.words, expected=f"{_KINDS[taken]}; {_advise(look)}")


def _advise(look: Appearance) -> str:
    if look.format:
        return f"set data.format: {look.format}"
    return look.fix or f"set data.format to one of {', '.join(_KINDS)}"
