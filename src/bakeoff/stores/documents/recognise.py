"""Recognise the format of a file by its first bytes, for messages and for files without a known suffix."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from bakeoff.core.config.data import DataFormat
from bakeoff.errors import DataError
from bakeoff.stores.documents.conll import has_tags
from bakeoff.stores.documents.csv_files import find_delimiter
from bakeoff.stores.documents.json_files import BOM

_HEAD_BYTES = 64 << 10
_LINES = 50
# A bracket can be a word in CoNLL columns; then a tag follows.
_JSON = re.compile(r"""\{\s*["}]|\[\s*["{\[\]\-0-9]""")
_SEPARATORS = {",": "commas", ";": "semicolons"}


class Look(NamedTuple):
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


_SIGNS = {
    b"PAR1": Look("a Parquet file", "parquet"),
    b"ARROW1": Look("an Arrow or Feather file", None, "write it as Parquet"),
    b"\xff\xff\xff\xff": Look("an Arrow stream", None, "name the folder that datasets saved it in"),
    b"\x1f\x8b": Look("a gzip file", None, "unpack it"),
    b"\x28\xb5\x2f\xfd": Look("a zstd file", None, "unpack it"),
    b"BZh": Look("a bzip2 file", None, "unpack it"),
    b"\xfd7zXZ\x00": Look("an xz file", None, "unpack it"),
    b"PK\x03\x04": Look("a ZIP file or a workbook", None, "unpack it, or save the sheet as CSV"),
    b"\xff\xfe": Look("text in UTF-16", None, "save it in UTF-8"),
    b"\xfe\xff": Look("text in UTF-16", None, "save it in UTF-8"),
    b"\x80\x04\x95": Look("a pickle, which could run code", None, "write it as Parquet"),
    b"\x80\x05\x95": Look("a pickle, which could run code", None, "write it as Parquet"),
}


TABLE_WITH_TABS = Look("a table with tabs", "csv", is_certain=False)


def recognise(path: Path) -> Look:
    """Recognise a file or folder.

    Raises:
        DataError: It is missing, or cannot be read.
    """
    try:
        if path.is_dir():
            return Look("a folder", "datasets")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        expected = "a file of documents; correct its path in data.yaml"
        raise DataError(str(path), found="no such file", expected=expected) from None
    except OSError as error:
        raise DataError(str(path), found=str(error), expected="a readable file") from error
    for sign, look in _SIGNS.items():
        if head.startswith(sign):
            return look
    return _recognise_text(head.removeprefix(BOM).decode(errors="replace"))


def _recognise_text(head: str) -> Look:
    text = head.strip()
    if not text:
        return Look("an empty file", None, is_certain=False)
    if _JSON.match(text):
        return Look("a JSON file", "json")
    lines = [line for line in text.split("\n")[:_LINES] if line.strip()]
    if _is_json(lines[0]):
        return Look("a JSON file", "json", is_certain=False)
    if has_tags(lines):
        return Look("words with tags in CoNLL columns", "conll", is_certain=False)
    delimiter = find_delimiter(lines[0])
    if delimiter == "\t":
        return TABLE_WITH_TABS
    if delimiter:
        return Look(f"a table with {_SEPARATORS[delimiter]}", "csv", is_certain=False)
    return Look("text of an unknown format", None, is_certain=False)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
