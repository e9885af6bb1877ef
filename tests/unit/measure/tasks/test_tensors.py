"""Tensors: documents are rows of a file, named by its content; nothing is judged, trained or served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from bakeoff.errors import CheckpointError, ConfigError, DataError
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.tensor_rows import TensorRows
from bakeoff.measure.tasks import Document, Tensors
from bakeoff.measure.tasks.documents import TensorDocument
from bakeoff.measure.tasks.rows import Row
from bakeoff.orchestrator.plan import digest_documents

TASK = Tensors(kind="tensors")
ONE = TensorDocument(path=Path("/here/a.npz"), digest="a" * 64, row=1)


def test_a_document_survives_the_way_into_an_order_and_out_of_it() -> None:
    document: TypeAdapter[Document] = TypeAdapter(Document)
    assert document.validate_json(document.dump_json(ONE)) == ONE


def test_content_and_row_are_the_identity_and_the_path_is_not() -> None:
    moved = ONE.replace(path=Path("/there/b.npz"))
    assert digest_documents([ONE]) == digest_documents([moved])
    others = (ONE.replace(row=2), ONE.replace(digest="b" * 64))
    assert len({digest_documents([each]) for each in (ONE, *others)}) == 3


def test_there_is_no_metric_and_whoever_asks_for_one_gets_a_clear_error() -> None:
    assert TASK.default_metric == ""
    with pytest.raises(KeyError, match=r"default: not a metric of tensors \(known: none\)"):
        TASK.find_metric(None)
    with pytest.raises(KeyError, match="f1: not a metric of tensors"):
        TASK.find_metric("f1")


def test_rows_of_another_format_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        TASK.read([Row("test.jsonl:1", {"text": "Ada codes"})])
    assert str(caught.value) == (
        "test.jsonl:1: found a row of another format; expected an .npz file; correct data.test or data.task"
    )


def test_a_row_is_encoded_by_its_number_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.eye(3, dtype=np.float32))
    from bakeoff.stores.documents.npz_files import read_npz

    documents = TASK.read(read_npz(path)).documents
    assert [document.length for document in documents] == [1, 1, 1]
    assert not any(document.is_labelled for document in documents)
    first = documents[0]
    assert isinstance(first, TensorDocument)
    rows = TensorRows(first.path, first.digest)
    batch = rows.pad([TASK.encode(rows, documents[number]) for number in (2, 0)])
    assert (batch.arrays["x"] == [[0, 0, 1], [1, 0, 0]]).all()


def test_nothing_is_trained() -> None:
    with pytest.raises(ConfigError, match="no model can be trained"):
        TASK.list_labels([ONE])


def test_a_checkpoint_that_reads_text_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, ("O",), 0, architecture="BertForTokenClassification")
    with pytest.raises(CheckpointError, match=r"which reads text, .* is tensors; name an \.onnx file"):
        TASK.require_head(checkpoint)


def test_stored_outcomes_are_a_fault() -> None:
    assert TASK.find_fault({"score": np.ones(2)}) == "outcomes (score), but tensors have no labels"
