"""Finished ONNX graphs that others made, from packages: measured for cost, or refused with the reason."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FAST = "--set=benchmark.protocol={processes: 2, rounds: 2, block_s: 0.005, max_calls: 10, warmup_min_s: 0.0}"


def find_graph(package: str, name: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found is not None, package
    assert found.submodule_search_locations is not None
    return Path(next(iter(found.submodule_search_locations))) / name


MAGIKA = find_graph("magika", "models/standard_v3_3/model.onnx")
SPEECH = find_graph("silero_vad", "data/silero_vad_half.onnx")


def run_try(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bakeoff", "try", *words, "--inputs", "inputs.npz", FAST]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="rapidocr-onnxruntime 1.4 needs an older Python")
def test_two_graphs_of_images_are_ranked_by_speed(tmp_path: Path) -> None:
    classifier = find_graph("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx")
    recogniser = find_graph("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx")
    random = np.random.default_rng(0)
    np.savez(tmp_path / "inputs.npz", x=random.random((8, 3, 48, 96), dtype=np.float32))
    done = run_try(tmp_path, f"recogniser={recogniser}", f"classifier={classifier}")
    assert done.returncode in (0, 4), done.stderr
    assert "quality is not measured, so the fastest is the best" in done.stdout
    assert "2 measured, 0 failed" in done.stdout
    assert "this ranking is by speed alone" in done.stdout


@pytest.mark.slow
def test_a_graph_of_bytes_runs_in_both_runtimes(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", bytes=np.arange(20 * 2048, dtype=np.int32).reshape(20, 2048) % 256)
    done = run_try(tmp_path, f"magika={MAGIKA}", "--runtimes", "onnxruntime,openvino")
    assert done.returncode in (0, 4), done.stderr
    assert "magika × onnxruntime" in done.stdout
    assert "magika × openvino" in done.stdout
    assert "2 measured, 0 failed" in done.stdout


def test_a_graph_with_a_state_is_refused_with_the_reason(tmp_path: Path) -> None:
    sound, state = np.zeros((10, 576), dtype=np.float32), np.zeros((10, 2, 128), dtype=np.float32)
    np.savez(tmp_path / "inputs.npz", input=sound, state=state)
    done = run_try(tmp_path, f"speech={SPEECH}")
    assert done.returncode == 2
    wanted = "a graph with the input state [2, ?, 128], whose first axis is not the batch; expected inputs"
    assert wanted in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
