"""Files of arrays among the other formats: found by suffix or content, and read by the task tensors alone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.core.config.data import DataSettings
from bakeoff.errors import DataError
from bakeoff.measure.tasks.documents import TensorDocument
from bakeoff.stores.documents import read_document_file, read_rows, require_labels, write_rows

TENSORS = DataSettings.model_validate({"task": "tensors"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "inputs.npz"
    np.savez(found, image=np.ones((3, 2, 2), dtype=np.float32), scale=np.arange(3))
    return found


def read_error(path: Path, data: DataSettings = TENSORS) -> str:
    with pytest.raises(DataError) as caught:
        read_document_file(path, data)
    return str(caught.value)


def test_each_row_is_a_document_of_its_file(path: Path) -> None:
    found = read_document_file(path, TENSORS)
    assert (found.form, found.labels) == ("rows of arrays", ())
    first = found.documents[0]
    assert isinstance(first, TensorDocument)
    assert found.documents == tuple(first.replace(row=number) for number in range(3))
    assert first.path == path


def test_a_moved_file_has_the_same_documents_and_a_changed_one_others(path: Path, tmp_path: Path) -> None:
    before = [document.content for document in read_document_file(path, TENSORS).documents]
    moved = path.rename(tmp_path / "moved.npz")
    assert [document.content for document in read_document_file(moved, TENSORS).documents] == before
    np.savez(moved, image=np.ones((3, 2, 2), dtype=np.float32), scale=np.arange(3) + 1)
    assert [document.content for document in read_document_file(moved, TENSORS).documents] != before


def test_a_node_reads_the_same_documents_from_the_rows_that_it_is_sent(path: Path, tmp_path: Path) -> None:
    sent = tmp_path / "node.jsonl"
    sent.write_text(write_rows(read_rows(path)))
    assert read_document_file(sent, TENSORS).documents == read_document_file(path, TENSORS).documents


def test_arrays_are_recognised_without_their_suffix(path: Path, tmp_path: Path) -> None:
    bare = path.rename(tmp_path / "inputs")
    assert len(read_document_file(bare, TENSORS).documents) == 3
    table = bare.rename(tmp_path / "inputs.csv")
    assert read_error(table) == f"{table}: found arrays of NumPy; expected CSV; set data.format: npz"
    assert len(read_rows(table, "npz")) == 3


@pytest.mark.parametrize("kind", ["token_classification", "text_classification", "text_regression"])
def test_a_task_that_reads_text_says_which_task_reads_arrays(path: Path, kind: str) -> None:
    assert read_error(path, DataSettings.model_validate({"task": kind})) == (
        f"{path}: found arrays of NumPy; expected documents of {kind}; correct the file, or set data.task to "
        "tensors"
    )


def test_tensors_read_no_text(tmp_path: Path) -> None:
    text = tmp_path / "test.jsonl"
    text.write_text('{"text": "Ada codes"}\n')
    assert read_error(text) == (
        f"{text}:1: found a row of another format; expected an .npz file; correct data.test or data.task"
    )


def test_a_text_file_named_npz_says_what_it_looks_like(tmp_path: Path) -> None:
    text = tmp_path / "test.npz"
    text.write_text('{"text": "Ada codes"}\n')
    assert read_error(text) == f"{text}: found a JSON file; expected arrays of NumPy; set data.format: json"


def test_a_damaged_file_keeps_its_own_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])
    assert read_error(path) == (
        f"{path}: found no ZIP file, or half of one; expected an .npz file; write it with numpy.savez"
    )
    np.savez(path)
    assert read_error(path) == f"{path}: found no array; expected at least one"


def test_nothing_that_needs_labels_takes_tensors(path: Path) -> None:
    documents = read_document_file(path, TENSORS).documents
    with pytest.raises(DataError) as caught:
        require_labels(path, documents, TENSORS, "`bakeoff sweep`")
    assert str(caught.value) == (
        f"{path}: found 3 documents without labels; expected documents with labels, since `bakeoff sweep` "
        "needs them; tensors have none"
    )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_spoilt_file_gives_documents_or_one_line(tmp_path: Path, changes: list[tuple[float, int]]) -> None:
    spoilt = tmp_path / "spoilt.npz"
    np.savez(spoilt, x=np.ones((2, 2), dtype=np.float32))
    content = bytearray(spoilt.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    spoilt.write_bytes(content)
    with suppress(DataError):
        assert read_document_file(spoilt, TENSORS).documents
