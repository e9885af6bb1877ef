"""What is prepared from a checkpoint: near PyTorch on real texts, or refused; and unchanged since."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.disk.digest import digest_file, digest_folder
from bakeoff.errors import CheckpointError, WorkerError
from bakeoff.measure.backends import Backend, OnnxRuntime, OpenVino, Torch
from bakeoff.measure.backends.parity import Agreement, answer_all, compare, read_check, write_check
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.measure.tasks.token_classification import TokenClassification
from bakeoff.run.measuring.orders import PrepareOrder, run_in_process
from samples import sample_of

Weights = NDArray[np.float32]
Texts = tuple[tuple[str, ...], ...]
N_LABELS = 5


@pytest.fixture(scope="session")
def texts() -> Texts:
    lines = files("bakeoff.demo").joinpath("data", "test.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(tuple(json.loads(line)["tokens"]) for line in lines[:24])


@pytest.fixture(scope="session")
def checkpoint(make_classifier: Callable[[str], Path]) -> Checkpoint:
    return open_checkpoint(make_classifier("bert"))


@pytest.fixture(scope="session")
def exported(checkpoint: Checkpoint, texts: Texts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    OnnxRuntime(threads=1).prepare(checkpoint, folder, sample_of(checkpoint, texts))
    return folder


@pytest.fixture
def export_copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "exported"))


def test_the_check_says_how_far_the_outputs_are_from_pytorchs_and_who_made_them(exported: Path) -> None:
    check = json.loads((exported / "check.json").read_text())
    assert check["runtime"] == "onnxruntime-fp32"
    assert 0 < check["max_abs_difference"] <= 1e-4
    assert check["agreement"] == 1
    assert (check["n_texts"], check["n_units"] > 24) == (24, True)
    assert check["files"] == {"model.onnx": digest_file(exported / "model.onnx")}
    assert check["versions"].keys() == {"torch", "transformers", "onnx", "onnxruntime"}
    assert "n/a" not in check["versions"].values()


# --- wrong outputs ----------------------------------------------------------------------------------------

Change = Callable[[Weights], Weights]
CompareSpoilt = Callable[[Change], Agreement]


def spoil(export: Path, change: Change) -> None:
    """Change the classifier's weights inside the graph, and forge the digest that would give it away."""
    import onnx
    from onnx import numpy_helper

    path = export / "model.onnx"
    model = onnx.load(str(path))
    classifier = [one for one in model.graph.initializer if one.dims[-1] == N_LABELS]
    assert len(classifier) == 2, "matrix and bias"
    for tensor in classifier:
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, str(path))
    check = json.loads((export / "check.json").read_text())
    check["files"]["model.onnx"] = digest_file(path)
    (export / "check.json").write_text(json.dumps(check))


def shift_bias(by: float) -> Change:
    return lambda weights: weights + np.float32(by) if weights.ndim == 1 else weights


def swap_labels(weights: Weights) -> Weights:
    return weights[..., [0, 1, 2, 4, 3]]


def keep(agreement: Agreement, folder: Path, checkpoint: Checkpoint, precision: str) -> None:
    write_check(
        agreement,
        folder,
        checkpoint,
        runtime=f"onnxruntime-{precision}",
        precision=precision,
        task=TokenClassification(),
        made_by="a test",
        versions={},
    )


@pytest.fixture
def compare_spoilt(checkpoint: Checkpoint, exported: Path, texts: Texts, tmp_path: Path) -> CompareSpoilt:
    """Compare a copy of the export, with its classifier changed, with PyTorch."""
    reference = Torch(threads=1).load(checkpoint, None)

    def compare_copy(change: Change) -> Agreement:
        copy = Path(shutil.copytree(exported, tmp_path / "spoilt", dirs_exist_ok=True))
        spoil(copy, change)
        sample = sample_of(checkpoint, texts)
        wanted = answer_all(reference, checkpoint, sample)
        return compare(wanted, OnnxRuntime(threads=1).load(checkpoint, copy), checkpoint, sample)

    return compare_copy


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        (shift_bias(2e-4), r"0\.0002\d*"),
        (lambda weights: weights * np.float32("nan"), "nan"),
        (swap_labels, r"\d+(\.\d+)?"),
    ],
    ids=["shifted", "nan", "swapped labels"],
)
def test_outputs_that_differ_are_refused_with_the_figure_and_the_limit(
    checkpoint: Checkpoint, compare_spoilt: CompareSpoilt, tmp_path: Path, change: Change, figure: str
) -> None:
    agreement = compare_spoilt(change)
    said = rf"outputs of onnxruntime-fp32 differ from PyTorch's by {figure} \(limit 0\.0001\)"
    with pytest.raises(CheckpointError, match=said):
        keep(agreement, tmp_path, checkpoint, "fp32")
    assert not (tmp_path / "check.json").exists()


def test_fewer_bits_may_move_logits_but_not_tags(
    checkpoint: Checkpoint, compare_spoilt: CompareSpoilt, tmp_path: Path
) -> None:
    shifted = compare_spoilt(shift_bias(2))  # all labels alike
    assert shifted.max_abs_difference == pytest.approx(2, abs=1e-3)
    keep(shifted, tmp_path / "kept", checkpoint, "int8")
    assert read_check(tmp_path / "kept").agreement == 1

    with pytest.raises(
        CheckpointError, match=r"equal PyTorch's in 0\.\d{4} of \d+ predictions \(limit 0\.98\)"
    ):
        keep(compare_spoilt(swap_labels), tmp_path, checkpoint, "int8")
    with pytest.raises(CheckpointError, match=r"by nan \(limit: any finite number\)"):
        keep(compare_spoilt(lambda weights: weights * np.float32("nan")), tmp_path, checkpoint, "bf16")


def test_logits_of_another_shape_are_refused(compare_spoilt: CompareSpoilt) -> None:
    said = r"float32 \(1, \d+, 6\), but PyTorch's are float32 \(1, \d+, 5\)"
    with pytest.raises(CheckpointError, match=said):
        compare_spoilt(lambda weights: np.concatenate([weights, weights[..., :1]], axis=-1))


def test_without_texts_nothing_is_taken_for_equal(checkpoint: Checkpoint) -> None:
    session = Torch(threads=1).load(checkpoint, None)
    with pytest.raises(ValueError, match="no texts"):
        answer_all(session, checkpoint, sample_of(checkpoint, []))


@pytest.mark.parametrize(
    "runtime",
    [
        Torch(),
        OnnxRuntime(precision="int8"),
        OpenVino(),
        pytest.param(Torch(compile=True), marks=pytest.mark.slow),
    ],
    ids=lambda one: one.label,
)
def test_a_checkpoint_that_answers_nan_is_refused_and_leaves_nothing(
    checkpoint: Checkpoint, texts: Texts, tmp_path: Path, runtime: Backend
) -> None:
    from safetensors.numpy import load_file, save_file

    spoilt = Path(shutil.copytree(checkpoint.folder, tmp_path / "checkpoint"))
    tensors = {name: tensor.copy() for name, tensor in load_file(spoilt / "model.safetensors").items()}
    tensors["classifier.bias"][0] = np.nan  # never within a tolerance of anything
    save_file(tensors, spoilt / "model.safetensors", metadata={"format": "pt"})
    order = PrepareOrder(
        runtime=runtime,
        checkpoint=spoilt,
        checkpoint_digest=digest_folder(spoilt),
        destination=tmp_path / "out" / "prepared",
        max_length=32,
        documents=tuple(TaggedDocument(tokens=words) for words in texts[:4]),
    )
    (tmp_path / "work").mkdir()
    with pytest.raises(WorkerError, match=r"weights with NaN or infinity: classifier\.bias"):
        run_in_process(order, tmp_path / "work", timeout_s=300)
    assert [path for path in (tmp_path / "out").iterdir() if path.suffix != ".lock"] == []


# --- changed since ----------------------------------------------------------------------------------------


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("model.onnx", append, r"model\.onnx changed since it was checked"),
        ("model.onnx", Path.unlink, r"no model\.onnx"),
        ("check.json", Path.unlink, r"no check\.json"),
        ("check.json", append, r"check\.json is not a complete record"),
        ("check.json", lambda path: path.write_text("{}"), r"check\.json is not a complete record"),
    ],
    ids=["file changed", "file gone", "check gone", "check broken", "check empty"],
)
def test_what_changed_since_it_was_checked_is_refused(
    checkpoint: Checkpoint, export_copy: Path, name: str, change: Callable[[Path], None], said: str
) -> None:
    change(export_copy / name)
    with pytest.raises(CheckpointError, match=said + ".*; remove this folder"):
        OnnxRuntime().load(checkpoint, export_copy)
