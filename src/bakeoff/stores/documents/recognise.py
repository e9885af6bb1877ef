"""Recognise the format of a file by its first bytes, for messages and for files without a known suffix."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from bakeoff.core.config.data import DataFormat
from bakeoff.disk.inputs import open_regular
from bakeoff.errors import DataError
from bakeoff.stores.documents.conll import has_tags
from bakeoff.stores.documents.csv_files import find_delimiter
from bakeoff.stores.documents.json_files import BOM

MAX_FILE_BYTES = 4 << 30  # the rows of a file are all held in memory
_HEAD_BYTES = 64 << 10
_LINES = 50
# A bracket can be a word in CoNLL columns; then a tag follows.
_JSON = re.compile(r"""\{\s*["}]|\[\s*["{\[\]\-0-9]""")
_SEPARATORS = {",": "commas", ";": "semicolons"}


class Appearance(NamedTuple):
    """What a file looks like.

    Attributes:
        words: Its kind, in words.
        format: Format that reads it; None if none does.
        fix: What to do with a file that no format reads.
        is_certain: Whether it can be nothing else.
    """

    words: str
    format: DataFormat | None
    fix: str = ""
    is_certain: bool = True


_ZIP = b"PK\x03\x04"
_SIGNS = {
    b"PAR1": Appearance("a Parquet file", "parquet"),
    b"ARROW1": Appearance("an Arrow or Feather file", None, "write it as Parquet"),
    b"\xff\xff\xff\xff": Appearance("an Arrow stream", None, "name the folder that datasets saved it in"),
    b"\x1f\x8b": Appearance("a gzip file", None, "unpack it"),
    b"\x28\xb5\x2f\xfd": Appearance("a zstd file", None, "unpack it"),
    b"BZh": Appearance("a bzip2 file", None, "unpack it"),
    b"\xfd7zXZ\x00": Appearance("an xz file", None, "unpack it"),
    _ZIP: Appearance("a ZIP file or a workbook", None, "unpack it, or save the sheet as CSV"),
    b"PK\x05\x06": Appearance("an empty ZIP file", None, "write something into it"),
    b"\xff\xfe": Appearance("text in UTF-16", None, "save it in UTF-8"),
    b"\xfe\xff": Appearance("text in UTF-16", None, "save it in UTF-8"),
    b"\x80\x04\x95": Appearance("a pickle, which could run code", None, "write it as Parquet"),
    b"\x80\x05\x95": Appearance("a pickle, which could run code", None, "write it as Parquet"),
}


NPZ = Appearance("arrays of NumPy", "npz")
TABLE_WITH_TABS = Appearance("a table with tabs", "csv", is_certain=False)


def recognise(path: Path) -> Appearance:
    """Recognise a file or folder.

    Raises:
        DataError: It is missing, or cannot be read.
    """
    try:
        if path.is_dir():
            return Appearance("a folder", "datasets")
        with open_regular(path, MAX_FILE_BYTES) as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        expected = "a file of documents; correct its path in data.yaml"
        raise DataError(str(path), found="no such file", expected=expected) from None
    except OSError as error:
        raise DataError(str(path), found=str(error), expected="a file of documents") from None
    for sign, look in _SIGNS.items():
        if head.startswith(sign):
            return NPZ if head.startswith(_ZIP) and _holds_arrays(path) else look
    return _recognise_text(head.removeprefix(BOM).decode(errors="replace"))


def _holds_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return any(name.endswith(".npy") for name in file.namelist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):  # damaged: its reader says how
        return False


def _recognise_text(head: str) -> Appearance:
    text = head.strip()
    if not text:
        return Appearance("an empty file", None, is_certain=False)
    if _JSON.match(text):
        return Appearance("a JSON file", "json")
    lines = [line for line in text.split("\n")[:_LINES] if line.strip()]
    if _is_json(lines[0]):
        return Appearance("a JSON file", "json", is_certain=False)
    if has_tags(lines):
        return Appearance("words with tags in CoNLL columns", "conll", is_certain=False)
    return _recognise_table(lines[0])


def _recognise_table(header: str) -> Appearance:
    match find_delimiter(header):
        case None:
            return Appearance("text of an unknown format", None, is_certain=False)
        case "\t":
            return TABLE_WITH_TABS
        case delimiter:
            return Appearance(f"a table with {_SEPARATORS[delimiter]}", "csv", is_certain=False)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
