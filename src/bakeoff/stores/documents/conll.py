"""CoNLL columns: a word and its tag on each line, an empty line after each sentence."""

from __future__ import annotations

import re
from pathlib import Path

from bakeoff.errors import DataError
from bakeoff.measure.tasks.rows import Row
from bakeoff.plural import count
from bakeoff.stores.documents.fields import Fields
from bakeoff.stores.documents.json_files import BOM

_NEW_DOCUMENT = "-DOCSTART-"
_COMMENT = re.compile(r"#( |$|.*=|begin document|end document)")
_TAG = re.compile(r"O|[BIESLU]-.+")
_BLANKS = re.compile(r"[ \t]+")


def read_conll(path: Path, fields: Fields) -> list[Row]:
    """Read sentences: the first column has the words, the last one the tags.

    Tabs separate the columns if the first word's line has one, else spaces.

    Raises:
        DataError: A line has another number of columns than the first, or only one, or is not UTF-8.
    """
    rows, words, tags = list[Row](), list[str](), list[str]()
    first, width, separator = 0, 0, _BLANKS
    with path.open("rb") as file:
        for number, content in enumerate(file, 1):
            line = _decode(f"{path}:{number}", content.removeprefix(BOM) if number == 1 else content)
            if not words and is_comment(line):
                continue
            columns = separator.split(line)
            if not line.strip() or columns[0] == _NEW_DOCUMENT:
                _close(rows, f"{path}:{first}", words, tags, fields)
                words, tags = [], []
                continue
            if not width:
                separator = re.compile("\t") if "\t" in line else _BLANKS
                columns = separator.split(line)
                width = len(columns)
            _check(f"{path}:{number}", columns, width)
            first = first if words else number
            words.append(columns[0])
            tags.append(columns[-1])
    _close(rows, f"{path}:{first}", words, tags, fields)
    return rows


def is_comment(line: str) -> bool:
    """Return whether a line before a sentence is a comment; ``# O`` is the word ``#`` with its tag."""
    return bool(_COMMENT.match(line)) and not _TAG.fullmatch(_BLANKS.split(line)[-1])


def has_tags(lines: list[str]) -> bool:
    """Return whether lines look like words with tags: the last columns are tags with prefixes or ``O``."""
    rows = [_BLANKS.split(line.rstrip()) for line in lines if not is_comment(line)]
    tagged = [row for row in rows if row[0] != _NEW_DOCUMENT]
    widths = {len(row) for row in tagged}
    return len(widths) == 1 and max(widths) > 1 and any(row[-1] == "O" for row in tagged)


def _decode(place: str, content: bytes) -> str:
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        found = f"bytes that are not UTF-8 ({error.reason}, byte {error.start + 1} of the line)"
        raise DataError(place, found=found, expected="UTF-8; save the file in UTF-8") from None


def _check(place: str, columns: list[str], width: int) -> None:
    if len(columns) != width or width == 1:
        expected = f"{width}, as in the first line" if width > 1 else "a word and its tag"
        raise DataError(place, found=count(len(columns), "column"), expected=f"{expected}; correct the line")
    if not columns[0] or not columns[-1]:
        found = f"an empty {'tag' if columns[0] else 'word'}"
        raise DataError(place, found=found, expected="a word and its tag; correct the line")


def _close(rows: list[Row], place: str, words: list[str], tags: list[str], fields: Fields) -> None:
    if words:
        rows.append(Row(place, {fields.tokens: words, fields.tags: tags}))
