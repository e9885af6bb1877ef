"""Architectures: the table's script on a few of them, and what a runtime does with unusual ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bakeoff.errors import CheckpointError
from bakeoff.measure.backends import OnnxRuntime, OpenVino, TensorBackend, Torch
from bakeoff.measure.backends.parity import Sample, read_check
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.tasks import TextClassification, TokenClassification
from tiny_models import LABELS, WORDS, Head, make_tiny

ROOT = Path(__file__).parents[2]
WORDWISE: Head = "token_classification"
WHOLE: Head = "sequence_classification"
BACKENDS = [Torch(threads=1), OnnxRuntime(threads=1), OpenVino(threads=1)]


def run_script(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "tools/write_architectures.py", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )


def make(tmp_path: Path, head: Head, model_type: str) -> Checkpoint:
    make_tiny(head, model_type, tmp_path / model_type)
    return open_checkpoint(tmp_path / model_type)


def sample_of(checkpoint: Checkpoint, lengths: Sequence[int] = (5, 11, 3, 17, 7)) -> Sample:
    encoder = Encoder(checkpoint, 64)
    encodings = tuple(encoder.encode(WORDS[:length]) for length in lengths)
    return Sample(TokenClassification() if checkpoint.head == WORDWISE else TextClassification(), encodings)


def test_the_page_is_that_of_the_kept_outcomes() -> None:
    done = run_script("--check")
    assert (done.stdout, done.returncode) == ("", 0), f"write it with --page\n{done.stderr}"


def test_no_architecture_of_the_table_is_wrong_without_being_refused() -> None:
    kept = json.loads((ROOT / "tools" / "architectures.json").read_text(encoding="utf-8"))
    verdicts = {
        outcome["verdict"]
        for rows in kept["outcomes"].values()
        for row in rows.values()
        for outcome in row.values()
    }
    assert verdicts == {"right", "refused", "not tried"}


@pytest.mark.slow
def test_the_script_tries_a_right_one_a_refused_one_and_an_impossible_one(tmp_path: Path) -> None:
    names = ("distilbert", "fnet", "layoutlmv2")
    done = run_script("--folder", str(tmp_path), *names)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "architectures.json").read_text(encoding="utf-8"))
    for head in LABELS:
        rows = kept["outcomes"][head]
        assert set(rows) == set(names)
        assert {each["verdict"] for each in rows["distilbert"].values()} == {"right"}
        assert {each["verdict"] for each in rows["fnet"].values()} == {"refused"}
        assert all("padding changes its answers" in each["reason"] for each in rows["fnet"].values())
        assert {each["verdict"] for each in rows["layoutlmv2"].values()} == {"not tried"}
    page = (tmp_path / "architectures.md").read_text(encoding="utf-8")
    assert "| `distilbert` | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ |" in page
    assert "| token classification | torch | 1 | 1 | 1 | 3 |" in page


@pytest.mark.parametrize("runtime", BACKENDS, ids=lambda one: one.kind)
def test_a_model_whose_answers_padding_changes_is_refused(tmp_path: Path, runtime: TensorBackend) -> None:
    checkpoint = make(tmp_path, WORDWISE, "convbert")
    (tmp_path / "prepared").mkdir()
    said = r"alone and in a padded batch differ by 0\.\d+ \(limit 0\.001\), so padding changes its answers"
    with pytest.raises(CheckpointError, match=said):
        runtime.prepare(checkpoint, tmp_path / "prepared", sample_of(checkpoint))
    assert list((tmp_path / "prepared").iterdir()) == []
    runtime.prepare(checkpoint, tmp_path / "prepared", sample_of(checkpoint, (9, 9, 9, 9)))


def test_a_model_that_cannot_run_batches_is_refused_with_its_reason(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, WHOLE, "llama")
    path = checkpoint.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": None}), encoding="utf-8")
    said = r"on a batch of 3 x 13 tokens \(ValueError: Cannot handle batch sizes > 1 if no padding token"
    with pytest.raises(CheckpointError, match=said):
        Torch().prepare(open_checkpoint(checkpoint.folder), tmp_path, sample_of(checkpoint))


def test_a_model_without_token_types_answers_as_plain_transformers_does(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForTokenClassification

    checkpoint = make(tmp_path, WORDWISE, "gpt2")
    (tmp_path / "prepared").mkdir()
    sample = sample_of(checkpoint)
    OnnxRuntime(threads=1).prepare(checkpoint, tmp_path / "prepared", sample)
    model = AutoModelForTokenClassification.from_pretrained(checkpoint.folder).eval()
    batch = Encoder(checkpoint, 64).pad(sample.encodings[:1])
    with torch.inference_mode():
        wanted = model(input_ids=torch.tensor([sample.encodings[0].ids])).logits.numpy()
    for session in (
        Torch(threads=1).load(checkpoint, None),
        OnnxRuntime(threads=1).load(checkpoint, tmp_path / "prepared"),
    ):
        np.testing.assert_allclose(session.infer(batch), wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_graph_that_cannot_be_traced_is_captured(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, WORDWISE, "apertus")  # its activation is no operator of the traced opset
    (tmp_path / "prepared").mkdir()
    OnnxRuntime(threads=1).prepare(checkpoint, tmp_path / "prepared", sample_of(checkpoint))
    check = read_check(tmp_path / "prepared")
    assert "captured" in check.made_by
    assert check.max_abs_difference < 1e-4
    assert check.files.keys() == {path.name for path in (tmp_path / "prepared").iterdir()} - {"check.json"}


@pytest.mark.parametrize("model_type", ["mixtral", "bloom"])  # experts; an input with a second name
def test_openvino_runs_what_only_its_own_form_of_a_graph_allows(tmp_path: Path, model_type: str) -> None:
    checkpoint = make(tmp_path, WORDWISE, model_type)
    (tmp_path / "prepared").mkdir()
    OpenVino(threads=1).prepare(checkpoint, tmp_path / "prepared", sample_of(checkpoint))
    assert "traced" in read_check(tmp_path / "prepared").made_by


@pytest.mark.slow
def test_a_runtime_that_cannot_run_any_graph_says_why(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, WORDWISE, "longformer")
    (tmp_path / "prepared").mkdir()
    with pytest.raises(CheckpointError, match=r"onnxruntime-fp32 cannot run it \(InvalidArgument: .*; use "):
        OnnxRuntime(threads=1).prepare(checkpoint, tmp_path / "prepared", sample_of(checkpoint))
    assert list((tmp_path / "prepared").iterdir()) == []
