"""`bakeoff try`: models and a file of examples in, a decision and a page out; no configuration."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bakeoff.core.decision.decide import read_decision
from command_line import read_document
from integration.test_any_models import export_graph, ids, zoo

__all__ = ["ids", "zoo"]

FAST = (
    "--set=benchmark.protocol={processes: 2, rounds: 2, block_s: 0.005, max_calls: 10, warmup_min_s: 0.0}",
    "--set=benchmark.scenarios.1.batch_sizes=[1]",
    "--set=benchmark.n_texts=20",
)
Try = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(zoo: Path, tmp_path: Path) -> Path:
    """A folder of a user: models, data, and no configuration."""
    folder = tmp_path / "here"
    return Path(shutil.copytree(zoo, folder, ignore=shutil.ignore_patterns("artifacts")))


@pytest.fixture
def run_try(here: Path) -> Try:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bakeoff", "try", *words]
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_two_folders_and_a_file_give_an_answer(run_try: Try, here: Path, tiny_backbone: Path) -> None:
    other = Path(shutil.copytree(here / "hf", here / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    before = {path.name for path in here.iterdir()}
    done = run_try("./hf", "new=./other", "--data", "test.jsonl", *FAST)
    assert done.returncode in (0, 4), done.stderr
    assert "task text_classification: hf is BertForSequenceClassification" in done.stdout
    assert "text in 'text', label in 'label'; say otherwise with --set" in done.stdout
    assert "best: the fastest of those" in done.stdout
    assert {path.name for path in here.iterdir()} - before == {"bakeoff-try"}
    decision = read_decision((here / "bakeoff-try/results/decision.json").read_bytes(), "decision.json")
    assert {standing.label for standing in decision.standings} == {
        f"{name} × {runtime}" for name in ("hf", "new") for runtime in ("torch-fp32", "onnxruntime-fp32")
    }
    page = (here / "bakeoff-try/results/report.html").read_text()
    assert "bakeoff try ./hf new=./other --data test.jsonl" in page
    assert "sync" not in done.stderr + done.stdout

    again = run_try("./hf", "new=./other", "--data", "test.jsonl", "--save", *FAST)
    assert "0 measured" in again.stdout
    assert again.returncode == done.returncode
    saved = here / "bakeoff-try" / "bakeoff.yaml"
    assert f"saved: {saved}" in again.stdout
    assert set(yaml.safe_load(saved.read_text())["models"]) == {"hf", "new"}
    words = [sys.executable, "-m", "bakeoff", "plan", *FAST]
    planned = subprocess.run(words, cwd=saved.parent, capture_output=True, text=True, check=False)
    assert "0 to measure" in planned.stdout


@pytest.mark.slow
def test_one_model_is_measured_and_nothing_is_decided(run_try: Try) -> None:
    done = run_try("graph/model.onnx", "--data", "test.jsonl", *FAST)
    assert done.returncode == 0, done.stderr
    assert (
        "graph × onnxruntime is the only candidate: there is nothing to decide; name another" in done.stdout
    )
    assert "report:" not in done.stdout


@pytest.mark.slow
def test_models_of_a_store_and_functions_stand_next_to_graphs(run_try: Try, ids: dict[str, str]) -> None:
    models = (f"sk={ids['plain']}", "factories:rules", "graph/model.onnx")
    refused = run_try(*models, "--data", "test.jsonl")
    assert refused.returncode == 2
    assert (
        "factories:rules: a function of Python, which bakeoff would run; add --trust-code" in refused.stderr
    )
    done = run_try(*models, "--data", "test.jsonl", "--trust-code", "--runtimes=openvino", "--json", *FAST)
    assert done.returncode in (0, 4), done.stderr
    document = read_document(done.stdout)
    assert {standing["label"] for standing in document["result"]["standings"]} == {
        "sk × pyfunc",
        "rules × python",
        "graph × openvino",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("./hf", "./gone", "--data", "test.jsonl"), "gone): no such file or folder; correct the path"),
        (("./hf",), "--data: missing; name a file of examples, or --inputs for cost alone"),
        (
            ("./hf", "--data", "gone.jsonl"),
            "no such file or folder; expected labelled examples; correct --data",
        ),
        (
            ("./hf", "hf=./graph", "--data", "test.jsonl"),
            "a second model named 'hf'; name it as NAME=./graph",
        ),
        (("./hf", "--data", "factories.py"), "with a suffix of no known format"),
        (
            ("./hf", "--data", "test.jsonl", "--runtimes", "tensorrt"),
            "found 'tensorrt'; allowed are torch, torch-fp32, ",
        ),
        (("./hf", "--data", "test.jsonl", "--runtimes", "torch-int4"), "found 'torch-int4'"),
        (("./hf", "--data", "test.jsonl", "--set", "data.task.metric=3"), "data.task"),
        (("./two", "--data", "test.jsonl"), "several ONNX graphs (a.onnx, b.onnx); name one of these files"),
        (
            ("./hf", "./ner", "--data", "test.jsonl"),
            "the models have different tasks: text_classification: hf",
        ),
        (("./hf", "--data", "odd.jsonl"), "labels in data.test that the model does not know: strange"),
    ],
)
def test_what_cannot_work_is_told_in_one_line_before_anything_is_measured(
    run_try: Try, here: Path, words: tuple[str, ...], message: str
) -> None:
    (here / "two").mkdir()
    for name in ("a", "b"):
        shutil.copyfile(here / "graph" / "model.onnx", here / "two" / f"{name}.onnx")
    ner = Path(shutil.copytree(here / "hf", here / "ner"))
    config = json.loads((ner / "config.json").read_text())
    (ner / "config.json").write_text(json.dumps({**config, "architectures": ["BertForTokenClassification"]}))
    (here / "odd.jsonl").write_text('{"text": "play it", "label": "strange"}\n')
    done = run_try(*words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not (here / "bakeoff-try" / "results" / "jobs").exists()


def test_a_graph_may_have_its_tokenizer_elsewhere(run_try: Try, here: Path) -> None:
    export_graph(here / "hf", here / "bare")
    (here / "bare" / "tokenizer.json").unlink()
    done = run_try("bare/model.onnx", "--data", "gone.jsonl")
    assert "no tokenizer.json next to model.onnx; set `tokenizer`" in done.stderr
    told = run_try("bare/model.onnx", "--tokenizer", "hf", "--data", "gone.jsonl")
    assert "gone.jsonl: found no such file" in told.stderr
