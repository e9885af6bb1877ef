"""What the comparison sees: every length alone, batches of every size, and what came before."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.disk.durable import make_folder
from bakeoff.errors import CheckpointError
from bakeoff.measure.backends import OnnxRuntime, OpenVino, TensorBackend, Torch, onnx_export, onnxruntime
from bakeoff.measure.backends.parity import (
    Sample,
    answer_all,
    choose_more_sizes,
    compare,
    keep_answers,
    read_answers,
    read_check,
)
from bakeoff.measure.backends.pretrained import load_model
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.graph import read_graph
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Batch, Encoder
from bakeoff.measure.scenarios.quality import Quality
from bakeoff.measure.scenarios.subject import Subject, TensorModel
from bakeoff.measure.tasks import TokenClassification
from bakeoff.measure.tasks.documents import TaggedDocument
from samples import sample_of
from tiny_models import WORDS, make_tiny

LENGTHS = tuple(number * 5 % 29 + 1 for number in range(40))


def sample_for(checkpoint: Checkpoint) -> Sample:
    return sample_of(checkpoint, [WORDS[:length] for length in LENGTHS])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("bert")
    make_tiny("token_classification", "bert", folder)
    return open_checkpoint(folder)


class Wrapped:
    """PyTorch's answers, and a fault that real runtimes have had."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.shapes: list[tuple[int, ...]] = []

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        self.shapes.append(batch.arrays["input_ids"].shape)
        return self.change(self._session.infer(batch))

    def change(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits

    def describe(self) -> dict[str, str]:
        return {}

    def device_memory_bytes(self) -> dict[str, int]:
        return {}


class FirstLength(Wrapped):
    """Alone, a document of any length gets as many answers as the first one had tokens."""

    def change(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        n_first = self.shapes[0][1]
        return np.resize(logits, (1, n_first, logits.shape[2])) if len(logits) == 1 else logits


class WrongInLargeBatches(Wrapped):
    def change(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits[..., ::-1].copy() if len(logits) > 8 else logits


class WrongAfterwards(Wrapped):
    def change(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        had_a_batch = any(shape[0] > 1 for shape in self.shapes)
        return logits[..., ::-1].copy() if had_a_batch and len(logits) == 1 else logits


def test_each_document_is_compared_alone_and_in_batches_of_every_size(checkpoint: Checkpoint) -> None:
    session = Wrapped(Torch(threads=1).load(checkpoint, None))
    sample = sample_for(checkpoint)
    wanted = answer_all(session, checkpoint, sample)
    alone = [shape for shape in session.shapes[: len(LENGTHS)] if shape[0] == 1]
    assert len(alone) == len(LENGTHS)
    assert len(set(alone)) > 20
    for size in (3, 8, 32):
        assert sum(shape[0] for shape in session.shapes if shape[0] == size) >= 32
    assert session.shapes[-1][0] == 1
    found = compare(wanted, session, checkpoint, sample)
    assert (found.max_abs_difference, found.agreement, found.n_texts) == (0, 1, len(LENGTHS))


class WrongAtSixteen(Wrapped):
    def change(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits[..., ::-1].copy() if len(logits) == 16 else logits


def test_the_batch_sizes_that_are_measured_are_compared_too(checkpoint: Checkpoint) -> None:
    session = Torch(threads=1).load(checkpoint, None)
    usual = sample_for(checkpoint)
    sample = replace(usual, more_sizes=choose_more_sizes((1, 8, 16, 4096), len(LENGTHS)))
    assert sample.more_sizes == (16, len(LENGTHS))
    for each, is_found in ((usual, False), (sample, True)):
        found = compare(answer_all(session, checkpoint, each), WrongAtSixteen(session), checkpoint, each)
        assert (found.find_fault("fp32", 0.98) is not None) == is_found


def test_a_session_that_keeps_its_first_length_is_refused(checkpoint: Checkpoint) -> None:
    session = Torch(threads=1).load(checkpoint, None)
    sample = sample_for(checkpoint)
    wanted = answer_all(session, checkpoint, sample)
    with pytest.raises(CheckpointError, match=r"logits float32 \(1, \d+, 3\), but PyTorch's are"):
        compare(wanted, FirstLength(session), checkpoint, sample)


@pytest.mark.parametrize("faulty", [WrongInLargeBatches, WrongAfterwards])
def test_a_session_that_is_wrong_in_some_calls_is_refused(
    checkpoint: Checkpoint, faulty: type[Wrapped]
) -> None:
    session = Torch(threads=1).load(checkpoint, None)
    sample = sample_for(checkpoint)
    found = compare(answer_all(session, checkpoint, sample), faulty(session), checkpoint, sample)
    fault = found.find_fault("fp32", 0.98)
    assert fault is not None
    assert fault.startswith("differ from PyTorch's by")


def test_fewer_bits_are_judged_at_the_batch_size_where_they_agree_least(checkpoint: Checkpoint) -> None:
    session = Torch(threads=1).load(checkpoint, None)
    sample = sample_for(checkpoint)
    found = compare(answer_all(session, checkpoint, sample), WrongInLargeBatches(session), checkpoint, sample)
    assert found.agreement < 0.9
    fault = found.find_fault("int8", 0.98)
    assert fault is not None
    assert fault.startswith("equal PyTorch's in 0.")


def test_a_reference_whose_answers_depend_on_what_came_before_is_refused(checkpoint: Checkpoint) -> None:
    session = WrongAfterwards(Torch(threads=1).load(checkpoint, None))
    with pytest.raises(CheckpointError, match="so its answers depend on what came before"):
        answer_all(session, checkpoint, sample_for(checkpoint))


@pytest.mark.parametrize(
    "runtime",
    [OnnxRuntime(threads=1), pytest.param(OpenVino(threads=1), marks=pytest.mark.slow), Torch(threads=1)],
    ids=lambda one: one.kind,
)
def test_answers_that_an_earlier_comparison_kept_are_those_compared_with(
    checkpoint: Checkpoint, tmp_path: Path, runtime: TensorBackend
) -> None:
    sample = replace(sample_for(checkpoint), answers_file=tmp_path / "answers.npz")
    Torch(threads=1).prepare(checkpoint, make_folder(tmp_path / "first"), sample)
    kept = read_answers(sample)
    assert kept is not None
    wanted = answer_all(Torch(threads=1).load(checkpoint, None), checkpoint, sample)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(kept, wanted, strict=True))
    runtime.prepare(checkpoint, make_folder(tmp_path / "second"), sample)

    keep_answers([each + np.float32(0.5) for each in kept], sample)
    if runtime == Torch(threads=1):
        runtime.prepare(checkpoint, make_folder(tmp_path / "third"), sample)
        assert read_check(tmp_path / "third").max_abs_difference == 0
    else:
        with pytest.raises(CheckpointError, match=r"differ from PyTorch's by 0\.5"):
            runtime.prepare(checkpoint, make_folder(tmp_path / "third"), sample)


@pytest.mark.parametrize("damage", ["cut", "other documents", "pickle", "other types", "empty"])
def test_answers_that_are_not_whole_are_computed_again(
    checkpoint: Checkpoint, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "answers.npz"
    sample = replace(sample_for(checkpoint), answers_file=path)
    Torch(threads=1).prepare(checkpoint, make_folder(tmp_path / "first"), sample)
    kept = read_answers(sample)
    assert kept is not None
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "other documents":
        keep_answers(kept[1:], sample)
    elif damage == "pickle":
        np.savez(path, *[np.array([object()]) for _ in kept])
    elif damage == "other types":
        keep_answers([each.astype(np.float64) for each in kept], sample)
    else:
        path.write_bytes(b"")
    assert read_answers(sample) is None
    OnnxRuntime(threads=1).prepare(checkpoint, make_folder(tmp_path / "second"), sample)
    again = read_answers(sample)
    assert again is not None
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(again, kept, strict=True))


def reverse_labels(source: Path, destination: Path) -> None:
    """Write fewer bits that predict other labels."""
    import onnx

    model = onnx.load(str(source))
    for name, at in (("starts", [-1]), ("ends", [-(1 << 31)]), ("axes", [2]), ("steps", [-1])):
        model.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [1], at))
    for node in model.graph.node:
        node.output[:] = ["straight" if name == "logits" else name for name in node.output]
    model.graph.node.append(
        onnx.helper.make_node("Slice", ["straight", "starts", "ends", "axes", "steps"], ["logits"])
    )
    onnx.save(model, str(destination))


@pytest.mark.parametrize(
    "is_right", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["right graph", "wrong graph"]
)
def test_another_exporter_is_tried_for_a_wrong_graph_but_not_for_what_fewer_bits_lose(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_right: bool
) -> None:
    tried = list[str]()

    def note(exporter: onnx_export.Exporter) -> onnx_export.Exporter:
        def write(model: Any, sample: Batch, path: Path) -> None:
            tried.append(exporter.name)
            exporter.write(model, sample, path)
            if not is_right:
                reverse_labels(path, path)

        return onnx_export.Exporter(exporter.name, write)

    monkeypatch.setattr(onnx_export, "EXPORTERS", tuple(map(note, onnx_export.EXPORTERS)))
    if is_right:
        monkeypatch.setattr(onnxruntime, "_quantize", reverse_labels)
    with pytest.raises(CheckpointError, match=r"outputs of onnxruntime-int8 equal PyTorch's in 0\.\d+"):
        OnnxRuntime(precision="int8").prepare(
            checkpoint, make_folder(tmp_path / "made"), sample_for(checkpoint)
        )
    assert tried == [each.name for each in onnx_export.EXPORTERS][: 1 if is_right else 2]
    assert list((tmp_path / "made").iterdir()) == []


@contextmanager
def keep_experts(model: Any) -> Iterator[None]:
    del model
    yield


@pytest.mark.parametrize("runtime", [OnnxRuntime(threads=1), OpenVino(threads=1)], ids=lambda one: one.kind)
def test_what_was_prepared_answers_every_length_and_batch_as_pytorch_does(
    tmp_path: Path, runtime: TensorBackend
) -> None:
    make_tiny("token_classification", "openai_privacy_filter", tmp_path / "model")
    checkpoint = open_checkpoint(tmp_path / "model")
    (tmp_path / "prepared").mkdir()
    runtime.prepare(checkpoint, tmp_path / "prepared", sample_for(checkpoint))
    session, reference = (
        runtime.load(checkpoint, tmp_path / "prepared"),
        Torch(threads=1).load(checkpoint, None),
    )
    encoder = Encoder(checkpoint, 64)
    encodings = [encoder.encode(WORDS[length : 3 * length]) for length in range(1, 21)]
    for size in (1, 2, 5):
        for start in range(0, len(encodings), size):
            batch = encoder.pad(encodings[start : start + size])
            mask = batch.arrays["attention_mask"].astype(bool)
            difference = session.infer(batch)[mask] - reference.infer(batch)[mask]
            assert np.abs(difference).max() < 1e-4


def test_a_graph_that_fails_where_an_expert_has_no_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "_exportable_experts", keep_experts)
    monkeypatch.setattr(onnx_export, "EXPORTERS", (onnx_export.TRACE,))
    make_tiny("token_classification", "openai_privacy_filter", tmp_path / "model")
    checkpoint = open_checkpoint(tmp_path / "model")
    (tmp_path / "prepared").mkdir()
    # The first documents, and batches of all, are long enough for every expert; a short one alone is not.
    sample = sample_of(checkpoint, [WORDS[:28]] * 4 + [WORDS[:length] for length in LENGTHS])
    with pytest.raises(CheckpointError, match=r"onnxruntime-fp32 cannot run it \(.*Split"):
        OnnxRuntime(threads=1).prepare(checkpoint, tmp_path / "prepared", sample)
    assert list((tmp_path / "prepared").iterdir()) == []


@pytest.mark.parametrize("names", [("input_ids", "attention_mask", "token_type_ids"), ("input_ids",)])
def test_a_given_graph_must_predict_a_document_alone_as_in_a_batch(
    checkpoint: Checkpoint, tmp_path: Path, names: tuple[str, ...]
) -> None:
    shutil.copyfile(checkpoint.tokenizer_file, tmp_path / "tokenizer.json")
    batch = sample_for(checkpoint).first_batch(checkpoint)
    taken = Batch({name: batch.arrays[name] for name in names}, batch.n_tokens)
    onnx_export.TRACE.write(load_model(checkpoint), taken, tmp_path / "model.onnx")
    graph = read_graph(tmp_path / "model.onnx", "a test")
    given = Checkpoint(tmp_path, checkpoint.labels, checkpoint.pad_token_id, graph=graph)
    task, encoder = TokenClassification(), Encoder(given, 64)
    documents = tuple(
        TaggedDocument(tokens=WORDS[:length], tags=("O",) * length) for length in (1, 2, 4, 8, 16, 32)
    )
    model = TensorModel(
        session=OnnxRuntime(threads=1, precision="given").load(given, None),
        checkpoint=given,
        encoder=task.make_encoder(given, 64, documents),
        task=task,
        documents=documents,
        encodings=tuple(encoder.encode(document.tokens) for document in documents),
    )
    subject = Subject(model=model, task=task, documents=documents, repeat=0)
    if len(names) > 1:
        assert len(Quality().measure(subject)) == 1
        return
    said = r"alone and in a padded batch agree in 0\.\d+ of 63 predictions \(limit 0\.98\)"
    with pytest.raises(CheckpointError, match=said):
        Quality().measure(subject)


def test_a_prediction_from_nan_never_counts(tmp_path: Path, make_classifier: Callable[[str], Path]) -> None:
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(make_classifier("bert"), tmp_path / "checkpoint"))
    weights = {name: each.copy() for name, each in load_file(folder / "model.safetensors").items()}
    weights["bert.embeddings.word_embeddings.weight"][7] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    checkpoint = open_checkpoint(folder)
    encoder = Encoder(checkpoint, 32)
    documents = (TaggedDocument(tokens=("play",)), TaggedDocument(tokens=("music",)))
    encodings = [encoder.encode(document.tokens) for document in documents]
    encodings[1] = encodings[1].__class__(ids=(2, 7, 3), type_ids=(0, 0, 0), first_tokens=(1,))
    task = TokenClassification()
    model = TensorModel(
        session=Torch(threads=1).load(checkpoint, None),
        checkpoint=checkpoint,
        encoder=task.make_encoder(checkpoint, 32, documents),
        task=task,
        documents=documents,
        encodings=tuple(encodings),
    )
    assert len(model.predict([0])) == 1
    with pytest.raises(CheckpointError, match="outputs with NaN or infinity for the documents"):
        model.predict([0, 1])
