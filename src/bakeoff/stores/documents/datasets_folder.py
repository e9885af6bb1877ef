"""Folders of datasets: what ``Dataset.save_to_disk`` wrote, read without the library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bakeoff.disk.digest import digest_file, digest_json
from bakeoff.disk.inputs import read_regular
from bakeoff.errors import DataError
from bakeoff.measure.tasks.rows import Row
from bakeoff.stores.documents.arrow_tables import ArrowRows, import_pyarrow, naming_faults, read_label_names
from bakeoff.stores.documents.json_files import load_json

STATE = "state.json"
INFO = "dataset_info.json"
SPLITS = "dataset_dict.json"
_MOST_BYTES = 16 << 20
_MOST_NAMES = 4


def read_datasets_folder(path: Path) -> list[Row]:
    """Read the rows of a folder, with the names of class labels in place of their numbers.

    Raises:
        DataError: The folder is not complete, holds splits, or one of its files is not what its name says.
    """
    pa = import_pyarrow("a folder of datasets")
    files = list_data_files(path)
    rows = ArrowRows(path, _read_labels(path))
    for file in files:
        expected = "an Arrow stream that datasets wrote"
        with (
            naming_faults(file, expected),
            pa.OSFile(str(file)) as source,
            pa.ipc.open_stream(source) as reader,
        ):
            for batch in reader:
                rows.add(batch)
    return rows.rows


def list_data_files(path: Path) -> list[Path]:
    """List the files that hold the rows of a folder, in the order of the rows.

    Raises:
        DataError: The folder is not one that ``Dataset.save_to_disk`` wrote.
    """
    if not (path / STATE).is_file():
        raise _explain_other_folder(path)
    state = _load(path / STATE)
    if state.get("_indices_data_files"):
        raise DataError(
            str(path / STATE),
            found="an order of rows in a file of its own",
            expected="rows in order; call flatten_indices() on the dataset and save it again",
        )
    files = list(_name_files(path, state.get("_data_files")))
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        expected = "all files of the folder; copy the folder again"
        raise DataError(str(path), found=f"no file {missing[0]!r}", expected=expected)
    return files


def digest_data(path: Path) -> str:
    """Return the digest of a file or folder of documents: of what reading it depends on.

    Caches that ``datasets`` adds to a folder do not count.

    Raises:
        DataError: The folder is not one that ``Dataset.save_to_disk`` wrote.
    """
    if not path.is_dir():
        return digest_file(path)
    return digest_json(
        {"labels": _read_labels(path), "files": [digest_file(file) for file in list_data_files(path)]}
    )


def _read_labels(path: Path) -> dict[str, list[str]]:
    """Return the names of class labels by column; none without a description of the features."""
    info = path / INFO
    features = _load(info).get("features") if info.is_file() else None
    return read_label_names(features) if isinstance(features, Mapping) else {}


def _name_files(path: Path, entries: object) -> Iterator[Path]:
    place = str(path / STATE)
    if not isinstance(entries, list) or not entries:
        raise DataError(place, found="no '_data_files'", expected="a list of files; save the dataset again")
    for entry in entries:
        name = entry.get("filename") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or Path(name).name != name or name in {"", ".", ".."}:
            expected = "the name of a file in this folder; save the dataset again"
            raise DataError(place, found=f"the file {name!r}", expected=expected)
        yield path / name


def _explain_other_folder(path: Path) -> DataError:
    """Explain a folder that holds splits, or no dataset at all."""
    if (path / SPLITS).is_file():
        splits = _load(path / SPLITS).get("splits")
        names = [name for name in splits if isinstance(name, str)] if isinstance(splits, list) else []
        folders = ", ".join(str(path / name) for name in names[:_MOST_NAMES]) or "one of its folders"
        return DataError(
            str(path), found="a dataset of several splits", expected=f"one split; name {folders}"
        )
    inside = sorted(entry.name for entry in path.iterdir())
    some = ", ".join(inside[:_MOST_NAMES])
    return DataError(
        str(path),
        found=f"a folder with {some or 'nothing'}{', …' if len(inside) > _MOST_NAMES else ''}",
        expected=f"a file, or a folder that datasets saved, with {STATE}; correct the path",
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        text = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise DataError(str(path), found=str(error), expected="a file of datasets; save it again") from None
    value = load_json(str(path), text, "one JSON object")
    if not isinstance(value, dict):
        raise DataError(str(path), found="no JSON object", expected="one JSON object; save the dataset again")
    return value
