"""A real CUDA device: the CPU's answers, complete timing, memory, and candidates next to those of the CPU.

`make check-gpu` installs what they need and runs them. Elsewhere each is skipped with the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bakeoff.demo import make_workspace
from bakeoff.errors import CannotTellError
from bakeoff.measure.backends import OnnxRuntime, TensorBackend, Torch
from bakeoff.measure.backends.parity import MAX_ABS_DIFFERENCE
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Batch
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.measure.tasks.token_classification import TokenClassification
from bakeoff.orchestrator import Project, bench, decide, open_project
from bakeoff.run.training.hugging_face import HuggingFaceTrainer
from bakeoff.run.training.trainer import TrainingOrder
from samples import sample_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow
if not torch.cuda.is_available():
    pytest.skip(f"torch {torch.__version__} sees no CUDA device on this machine", allow_module_level=True)

DEVICE: Any = "cuda"
RUNTIMES: tuple[TensorBackend, ...] = (
    Torch(device=DEVICE),
    Torch(device=DEVICE, precision="bf16"),
    Torch(device=DEVICE, precision="fp16"),
    Torch(device=DEVICE, compile=True),
    OnnxRuntime(device=DEVICE),
)
SHAPES = ((1, 3), (3, 17), (32, 64))  # documents × tokens


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a project: the demo's backbones, trained shortly, as named models for both devices."""
    folder = tmp_path_factory.mktemp("demo")
    config, _ = make_workspace(folder)
    project = open_project(config)
    for name in ("l6", "l2"):
        order = TrainingOrder(
            pretrained=folder / "backbones" / f"minilm-{name}",
            task=TokenClassification(),
            labels=project.corpus.labels,
            train=project.corpus.train[:200],
            evaluation=project.corpus.train[200:210],
            hyper_parameters={"learning_rate": 1e-3, "epochs": 1, "freeze_embeddings": True},
            max_length=64,
            seed=0,
            checkpoint=folder / "models" / name,
        )
        HuggingFaceTrainer().train(order)  # with random heads, bf16 would change what nearly ties
    changes: dict[str, Any] = {
        "models": {name: {"source": f"models/{name}"} for name in ("l6", "l2")},
        "benchmark": {
            "runtimes": [
                {"kind": "torch", "threads": 1},
                {"kind": "torch", "device": DEVICE},
                {"kind": "torch", "device": DEVICE, "precision": "fp16"},
                {"kind": "onnxruntime", "device": DEVICE},
            ],
            "scenarios": [
                {"kind": "quality"},
                {"kind": "latency", "batch_sizes": [1, 8]},
                {"kind": "server", "limit_ms": 200, "quantile": 0.9, "n_queries": 473},
            ],
            "protocol": {"preset": "quick", "rounds": 4, "min_calls": 5},
            "n_texts": 64,
            "accept_contended": True,
        },
        "decision": {"constraints": []},  # the training was short
    }
    for stage, section in changes.items():
        path = config / f"{stage}.yaml"
        old = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(yaml.safe_dump({**old, **section}), encoding="utf-8")
    (config / "hpo.yaml").unlink()  # no sweep, no champions
    return config


@pytest.fixture(scope="session")
def project(config: Path) -> Project:
    return open_project(config)


@pytest.fixture(scope="session")
def checkpoint(project: Project) -> Checkpoint:
    return open_checkpoint(project.root / "models" / "l6")


@pytest.fixture(scope="session", params=RUNTIMES, ids=lambda runtime: runtime.label)
def runtime(request: pytest.FixtureRequest) -> TensorBackend:
    found: TensorBackend = request.param
    return found


@pytest.fixture(scope="session")
def session(
    runtime: TensorBackend,
    checkpoint: Checkpoint,
    project: Project,
    tmp_path_factory: pytest.TempPathFactory,
) -> Session:
    folder = tmp_path_factory.mktemp(runtime.label)
    texts = [document.tokens for document in project.corpus.test[:64] if isinstance(document, TaggedDocument)]
    runtime.prepare(checkpoint, folder, sample_of(checkpoint, texts))  # refuses answers that differ
    return runtime.load(checkpoint, folder)


def make_batch(n_documents: int, n_tokens: int) -> Batch:
    ids = np.random.default_rng(n_tokens).integers(1000, 5000, (n_documents, n_tokens), dtype=np.int64)
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return Batch(arrays, n_tokens=ids.size)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_gives_the_logits_of_the_cpu(
    session: Session, runtime: TensorBackend, checkpoint: Checkpoint, shape: tuple[int, int]
) -> None:
    batch = make_batch(*shape)
    wanted = Torch(threads=1).load(checkpoint, None).infer(batch)
    found = session.infer(batch)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    if runtime.precision == "fp32":
        np.testing.assert_allclose(found, wanted, rtol=0, atol=MAX_ABS_DIFFERENCE)
    else:
        assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_a_call_ends_after_the_device_has_ended(session: Session) -> None:
    session.infer(make_batch(64, 128))
    assert torch.cuda.current_stream().query()  # no work of the call is left


def test_the_peak_of_device_memory_holds_the_weights(
    session: Session, runtime: TensorBackend, checkpoint: Checkpoint
) -> None:
    session.infer(make_batch(8, 64))
    found = session.device_memory_bytes()
    if runtime.kind == "onnxruntime":
        assert found == {}  # the library counts none
        return
    halves = 1 if runtime.precision == "fp32" else 2
    assert checkpoint.size_bytes / halves * 0.9 < found["max_allocated"] <= found["max_reserved"]


def test_candidates_of_both_devices_are_measured_together_and_ranked_only_if_asked(
    config: Path, project: Project
) -> None:
    found = bench(project)
    assert [each.reason for each in found.failed] == []
    with pytest.raises(CannotTellError, match=r"different devices \(cpu, cuda\)"):
        decide(project)
    allowed = open_project(config, ("decision.allow_unlike_environments=true",))
    assert len(decide(allowed).standings) == 2 * 4
