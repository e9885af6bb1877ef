"""Any graph with inputs of its own, from its file to the decision: timed for real, and ranked by speed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from bakeoff.errors import BakeoffError, CheckpointError, DataError, PromotionRefusedError
from bakeoff.measure.statistics.readings import LATENCY, OUTCOMES
from bakeoff.orchestrator import Project, bench, decide, open_project, plan, promote, save_decision
from command_line import bakeoff

N_ROWS, WIDTH = 12, 64
Open = Callable[..., Project]
PROTOCOL = {
    "processes": 2, "rounds": 3, "block_s": 0.005, "max_calls": 20, "warmup_min_s": 0.0, "warmup_max_s": 0.1,
    "time_budget_s": 600,
}  # fmt: skip


def write_graph(path: Path, n_layers: int, kind: int = TensorProto.FLOAT, width: int = WIDTH) -> None:
    """Write a graph that multiplies an image so many times, and scales it."""
    weights = np.random.default_rng(n_layers).normal(size=(width, width)).astype(np.float32)
    nodes, name = [], "image"
    for number in range(n_layers):
        nodes.append(helper.make_node("MatMul", [name, "weights"], [f"layer{number}"]))
        name = f"layer{number}"
    nodes.append(helper.make_node("Mul", [name, "scale"], ["scaled"]))
    graph = helper.make_graph(
        nodes,
        "layers",
        [
            helper.make_tensor_value_info("image", kind, ["n", 3, width]),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["n", 1, 1]),
        ],
        [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["n", 3, width])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def write_inputs(path: Path, changes: Mapping[str, np.ndarray] | None = None, n_rows: int = N_ROWS) -> None:
    generator = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "image": generator.normal(size=(n_rows, 3, WIDTH)).astype(np.float32),
        "scale": np.ones((n_rows, 1, 1), dtype=np.float32),
        **(changes or {}),
    }
    filled = {name: each for name, each in arrays.items() if each.size}
    np.savez(path, **filled)  # type: ignore[arg-type]  # numpy 2.0 has no allow_pickle to give


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with two graphs, of which one does forty times the work."""
    write_graph(tmp_path / "small.onnx", 1)
    write_graph(tmp_path / "large.onnx", 40)
    write_inputs(tmp_path / "inputs.npz")
    config = {
        "models": {"small": "./small.onnx", "large": "./large.onnx"},
        "data": {"task": "tensors", "test": "inputs.npz"},
        "benchmark": {
            "scenarios": [
                {"kind": "latency", "batch_sizes": [1, 4]},
                {"kind": "throughput", "batch_size": 4},
            ],
            "runtimes": [{"kind": "onnxruntime", "threads": 1}],
            "protocol": PROTOCOL,
            "accept_contended": True,
        },
        "decision": {"objective": {"kind": "fastest"}, "when_tied": "fastest"},
        "tracking": {"uri": "sqlite:///mlflow.db"},
    }
    (tmp_path / "bakeoff.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


@pytest.fixture
def reopen_it(folder: Path) -> Open:
    return lambda *overrides: open_project(folder / "bakeoff.yaml", overrides)


@pytest.mark.slow
def test_graphs_are_timed_ranked_reported_and_not_promoted(folder: Path, reopen_it: Open) -> None:
    checked = bakeoff(folder, "doctor", "--config", "bakeoff.yaml")
    assert "data.test: inputs.npz: 12 documents, rows of arrays" in checked.stdout
    done = bench(reopen_it())
    assert done.failed == ()
    assert len(done.measured) == 4
    for measurement in done.measured:
        assert measurement.reading(OUTCOMES) is None
        if measurement.job.scenario.kind == "latency":
            calls = measurement.reading(LATENCY, batch_size=4)
            assert calls is not None
            assert set(calls.columns["n_tokens"]) == set(calls.columns["n_padded_tokens"]) == {4}
    project = reopen_it()
    decision = decide(project)
    assert decision.metric is None
    assert [row.backbone for row in decision.standings] == ["small", "large"]
    assert decision.standings[0].place == "winner"
    assert "quality was not measured: this ranking is by speed alone" in decision.reasons
    save_decision(project, decision)
    reported = bakeoff(folder, "report", "--config", "bakeoff.yaml")
    assert reported.returncode == 0, reported.stderr
    assert "Quality was not measured: this ranking is by speed alone." in project.report_path.read_text()
    for what in ("decision", "measurements", "samples"):
        exported = bakeoff(
            folder, "export", "--what", what, "--format", "json", "-", "--config", "bakeoff.yaml"
        )
        assert exported.returncode == 0, exported.stderr
        assert json.loads(exported.stdout)["rows"]
    with pytest.raises(PromotionRefusedError, match="the task tensors serves no requests"):
        promote(project)
    moved = folder / "elsewhere.npz"
    (folder / "inputs.npz").rename(moved)
    assert plan(reopen_it("data.test=elsewhere.npz")).todo == ()
    write_inputs(moved, n_rows=N_ROWS + 1)
    assert len(plan(reopen_it("data.test=elsewhere.npz")).todo) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": np.ones(0)}, "found arrays 'image'; expected one for the input scale [?, 1, 1]"),
        (
            {"image": np.ones((N_ROWS, 3, WIDTH))},
            "array 'image': found dtype float64; expected float32, as the graph reads",
        ),
        (
            {"image": np.ones((N_ROWS, 3, 5), dtype=np.float32)},
            "array 'image': found [rows, 3, 5]; expected the shape of image [?, 3, 64]",
        ),
        (
            {"scale": np.ones(N_ROWS, dtype=np.float32)},
            "array 'scale': found [rows]; expected the shape of scale [?, 1, 1]",
        ),
    ],
)
def test_arrays_that_the_graph_does_not_read_are_refused_by_plan(
    folder: Path, reopen_it: Open, changes: dict[str, np.ndarray], message: str
) -> None:
    write_inputs(folder / "inputs.npz", changes)
    with pytest.raises(DataError) as caught:
        plan(reopen_it())
    assert str(caught.value).endswith(message)


def test_a_checkpoint_that_reads_text_is_refused_by_plan(reopen_it: Open, champion_copy: Path) -> None:
    with pytest.raises(CheckpointError, match=r"which reads text, but data\.task is tensors"):
        plan(reopen_it(f"models.text={champion_copy}"))


def test_a_model_that_reads_rows_is_refused_by_plan(folder: Path, reopen_it: Open) -> None:
    source = "{factory: 'json:loads', trust_code: true}"
    with pytest.raises(BakeoffError, match=r"rows: found a model that reads rows, but data\.task is"):
        plan(reopen_it(f"models.rows={source}"))


@pytest.mark.parametrize("region", ["model", "end_to_end"])
def test_openvino_times_the_same_rows(reopen_it: Open, region: str) -> None:
    pytest.importorskip("openvino")
    done = bench(
        reopen_it(
            "benchmark.runtimes=[{kind: openvino, threads: 1}]",
            f"benchmark.scenarios=[{{kind: latency, batch_sizes: [2], region: {region}}}]",
        )
    )
    assert done.failed == ()
    assert {each.job.candidate for each in done.measured} == {"small × openvino", "large × openvino"}


@pytest.mark.slow
def test_a_graph_that_answers_infinity_is_not_measured(folder: Path, reopen_it: Open) -> None:
    write_inputs(folder / "inputs.npz", {"scale": np.full((N_ROWS, 1, 1), 3e38, dtype=np.float32)})
    done = bench(reopen_it())
    assert done.measured == ()
    assert len(done.failed) == 4
    for attempt in done.failed:
        assert "outputs with NaN or infinity for the documents; restore its weights" in attempt.reason
