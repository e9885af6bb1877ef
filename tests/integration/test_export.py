"""Export to ONNX: equal to PyTorch on real texts, in eval mode, or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bakeoff.core.settings import DataSettings
from bakeoff.digest import digest_folder
from bakeoff.errors import CheckpointError, WorkerError
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.checkpoint import open_checkpoint
from bakeoff.measure.encoding import Encoder
from bakeoff.measure.entities import Document
from bakeoff.run.isolation import PrepareOrder, run_in_fresh_process
from bakeoff.stores.datasets import read_documents


@pytest.fixture(scope="session")
def documents(shipped: Path) -> tuple[Document, ...]:
    return read_documents(shipped / "data" / "test.jsonl", DataSettings(train="", test=""))


@pytest.fixture(scope="session")
def exported(shipped: Path) -> Path:
    """The export that the shipped project's bench made."""
    (folder,) = (shipped / ".cache" / "prepared").glob("[0-9a-f]*")
    return folder if folder.is_dir() else folder.parent


def test_an_exported_model_answers_as_pytorch_does_at_shapes_it_was_not_traced_with(
    champion_copy: Path, exported: Path, documents: tuple[Document, ...]
) -> None:
    checkpoint = open_checkpoint(champion_copy)
    encoder = Encoder(checkpoint, 32)
    torch, onnx = Torch(threads=1).load(checkpoint, None), OnnxRuntime(threads=1).load(checkpoint, exported)
    for size in (1, 3, 7):
        batch = encoder.pad([encoder.encode(document.tokens) for document in documents[:size]])
        kept = batch.arrays["attention_mask"].astype(bool)
        np.testing.assert_allclose(torch.infer(batch)[kept], onnx.infer(batch)[kept], atol=1e-4)
        # Dropout left on would answer differently each time.
        np.testing.assert_array_equal(onnx.infer(batch), onnx.infer(batch))


def test_the_export_says_how_far_its_outputs_are_from_pytorchs(exported: Path) -> None:
    facts = json.loads((exported / "export.json").read_text())
    assert 0 <= facts["max_abs_difference"] <= 1e-4
    assert facts["texts"] == 24


def test_an_exported_file_that_changed_since_the_check_is_refused(
    champion_copy: Path, exported: Path, tmp_path: Path
) -> None:
    for name in ("model.onnx", "export.json"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    with (tmp_path / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=r"model\.onnx changed since it was checked"):
        OnnxRuntime().load(open_checkpoint(champion_copy), tmp_path)


def test_an_export_whose_outputs_differ_is_refused_and_leaves_nothing(
    champion_copy: Path, documents: tuple[Document, ...], tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    weights = champion_copy / "model.safetensors"
    tensors = {name: tensor.copy() for name, tensor in load_file(weights).items()}
    tensors["classifier.bias"][0] = np.nan  # never within a tolerance of anything
    save_file(tensors, weights, metadata={"format": "pt"})
    destination = tmp_path / "out" / "prepared"
    order = PrepareOrder(
        runtime=OnnxRuntime(threads=1),
        checkpoint=champion_copy,
        checkpoint_digest=digest_folder(champion_copy),
        destination=destination,
        texts=tuple(document.tokens for document in documents[:4]),
    )
    (tmp_path / "work").mkdir()
    with pytest.raises(WorkerError, match=r"outputs differ from PyTorch's by nan \(limit 0\.0001\)"):
        run_in_fresh_process(order, tmp_path / "work", timeout_s=120)
    assert not destination.exists()


def test_an_onnxruntime_worker_imports_neither_torch_nor_transformers_nor_mlflow(
    champion_copy: Path, exported: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; import bakeoff.run.worker;"
        "from bakeoff.measure.backends import OnnxRuntime;"
        "from bakeoff.measure.checkpoint import open_checkpoint;"
        "OnnxRuntime(threads=1).load(open_checkpoint(Path(sys.argv[1])), Path(sys.argv[2]));"
        "print([m for m in ('torch', 'transformers', 'mlflow', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(champion_copy), str(exported)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
