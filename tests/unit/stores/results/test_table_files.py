"""Exports: what is read back is what was written, and a spreadsheet runs none of it."""

from __future__ import annotations

import csv
import io
import json
import re
from importlib import util

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.core.tables import FlatTable
from bakeoff.errors import MissingExtraError
from bakeoff.install import install_command
from bakeoff.stores.results.table_files import encode_frame

FRAME = FlatTable(
    {
        "name": ["a × b", 'c,"d"\ne', None],
        "ms": [0.1 + 0.2, -1e-300, None],
        "n": [1, None, 2**40],
        "is_on_front": [True, False, None],
    }
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def test_csv_keeps_every_digit_of_a_number_and_every_character_of_a_text() -> None:
    rows = list(csv.DictReader(io.StringIO(encode_frame(FRAME, "decision", "csv").decode(), newline="")))
    assert [row["name"] for row in rows] == ["a × b", 'c,"d"\ne', ""]
    assert [float(row["ms"]) for row in rows[:2]] == [0.1 + 0.2, -1e-300]
    assert rows[2] == {"name": "", "ms": "", "n": str(2**40), "is_on_front": ""}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("x")'])
def test_a_text_that_a_spreadsheet_would_run_is_kept_behind_an_apostrophe(text: str) -> None:
    (head, row) = csv.reader(
        io.StringIO(encode_frame(FlatTable({text: [text]}), "decision", "csv").decode(), newline="")
    )
    assert head == row == [f"'{text}"]


@given(st.lists(st.one_of(TEXT, st.integers(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_no_cell_but_a_number_begins_like_a_formula(cells: list[str | int | float]) -> None:
    text = encode_frame(FlatTable({"cells": cells}), "decision", "csv").decode()
    for cell, (read,) in zip(cells, list(csv.reader(io.StringIO(text, newline="")))[1:], strict=True):
        if isinstance(cell, str):
            assert not read.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        else:
            assert type(cell)(read) == cell


def test_json_is_versioned_and_has_an_object_a_row() -> None:
    document = json.loads(encode_frame(FRAME, "samples", "json"))
    assert (document["format_version"], document["what"]) == (2, "samples")
    assert document["rows"][0] == {"name": "a × b", "ms": 0.1 + 0.2, "n": 1, "is_on_front": True}
    assert document["rows"][2]["name"] is None


def test_parquet_reads_back_with_types_gaps_and_version() -> None:
    table = pq.read_table(io.BytesIO(encode_frame(FRAME, "samples", "parquet")))
    assert table.to_pydict() == {name: list(column) for name, column in FRAME.columns.items()}
    assert [str(field.type) for field in table.schema] == ["string", "double", "int64", "bool"]
    assert table.schema.metadata[b"bakeoff.format_version"] == b"2"


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = util.find_spec
    monkeypatch.setattr(
        "bakeoff.stores.results.table_files.find_spec", lambda name: None if name == "pyarrow" else find(name)
    )
    with pytest.raises(MissingExtraError, match=re.escape(install_command("parquet"))):
        encode_frame(FRAME, "samples", "parquet")
