"""The contract of every backend: PyTorch's answers, at any shape, with what was asked for in force."""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.errors import CheckpointError, UnsupportedRuntimeError
from bakeoff.install import install_command
from bakeoff.measure.backends import Noop, OnnxRuntime, OpenVino, TensorBackend, Torch
from bakeoff.measure.backends.availability import require_bf16
from bakeoff.measure.backends.parity import MAX_ABS_DIFFERENCE
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Batch, Encoder
from bakeoff.measure.tasks.token_classification import TokenClassification
from samples import sample_of

SHAPES = ((1, 3), (3, 17), (8, 32))  # documents × tokens; none of them is what an export is traced with
COMPILED = Torch(threads=1, compile=True)
RUNTIMES: tuple[TensorBackend, ...] = (
    Torch(threads=1),
    Torch(threads=1, precision="bf16"),
    COMPILED,
    OnnxRuntime(threads=1),
    OnnxRuntime(threads=1, precision="int8", spinning=False, memory_arena=False),
    OpenVino(threads=1),
    OpenVino(threads=1, precision="bf16"),
    OpenVino(threads=1, precision="int8"),
)


def read_texts() -> tuple[tuple[str, ...], ...]:
    lines = files("bakeoff.demo").joinpath("data", "test.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(tuple(json.loads(line)["tokens"]) for line in lines[:64])


@pytest.fixture(scope="session", params=["bert", "distilbert"])
def checkpoint(request: pytest.FixtureRequest, make_classifier: Callable[[str], Path]) -> Checkpoint:
    return open_checkpoint(make_classifier(request.param))


# A C++ compiler takes half a minute for each model.
PARAMETERS = [pytest.param(one, marks=pytest.mark.slow if one == COMPILED else ()) for one in RUNTIMES]


@pytest.fixture(scope="session", params=PARAMETERS, ids=lambda runtime: runtime.label)
def runtime(request: pytest.FixtureRequest) -> TensorBackend:
    found: TensorBackend = request.param
    if found.precision == "bf16":
        try:
            require_bf16(found.label)
        except UnsupportedRuntimeError as error:
            pytest.skip(str(error))
    return found


@pytest.fixture(scope="session")
def prepare_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Checkpoint, TensorBackend], Path | None]:
    """Prepare each checkpoint for each runtime once, whatever tests ask for it in which order."""

    @functools.cache
    def prepare(checkpoint: Checkpoint, runtime: TensorBackend) -> Path | None:
        if runtime.prepare_settings() is None:
            return None
        folder = tmp_path_factory.mktemp(f"prepared-{runtime.label}")
        runtime.prepare(checkpoint, folder, sample_of(checkpoint, read_texts()))
        return folder

    return prepare


@pytest.fixture(scope="session")
def prepared(
    checkpoint: Checkpoint,
    runtime: TensorBackend,
    prepare_once: Callable[[Checkpoint, TensorBackend], Path | None],
) -> Path | None:
    return prepare_once(checkpoint, runtime)


@pytest.fixture(scope="session")
def session(checkpoint: Checkpoint, runtime: TensorBackend, prepared: Path | None) -> Session:
    return runtime.load(checkpoint, prepared)


@pytest.fixture(scope="session")
def reference(checkpoint: Checkpoint) -> Session:
    return Torch(threads=1).load(checkpoint, None)


def make_batch(n_documents: int, n_tokens: int, n_ids: int = 100) -> Batch:
    """Random tokens, every document as long as the batch."""
    ids = np.random.default_rng(n_tokens).integers(4, n_ids, (n_documents, n_tokens), dtype=np.int64)
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return Batch(arrays, n_tokens=ids.size)


def assert_near(runtime: TensorBackend, found: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    """The promise of the precision: logits for fp32, tags for what computes in fewer bits."""
    if runtime.precision == "fp32":
        np.testing.assert_allclose(found, wanted, rtol=0, atol=MAX_ABS_DIFFERENCE)
    else:
        assert np.isfinite(found).all()
        agreement = (found.argmax(-1) == wanted.argmax(-1)).mean()
        assert agreement >= TokenClassification.least_agreement


def run_fresh(program: str, *arguments: str, **environment: str) -> str:
    """Run a program in a new interpreter and return what it printed last."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


# --- the same answers as PyTorch --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_answers_as_pytorch_does_at_shapes_it_was_not_traced_with(
    session: Session,
    reference: Session,
    runtime: TensorBackend,
    checkpoint: Checkpoint,
    shape: tuple[int, int],
) -> None:
    batch = make_batch(*shape)
    found = session.infer(batch)
    assert found.dtype == np.float32
    assert found.shape == (*shape, len(checkpoint.labels))
    assert_near(runtime, found, reference.infer(batch))


def test_it_answers_a_question_twice_the_same(session: Session) -> None:
    batch = make_batch(3, 17)
    first = session.infer(batch)
    session.infer(make_batch(2, 9))  # what was answered stays as it was, whatever is asked afterwards
    np.testing.assert_array_equal(session.infer(batch), first)


def test_padding_does_not_change_what_a_document_is_answered(
    session: Session, runtime: TensorBackend, checkpoint: Checkpoint
) -> None:
    encoder = Encoder(checkpoint, 32)
    encodings = [encoder.encode(tokens) for tokens in read_texts()]
    together, alone = [], []
    for start in range(0, len(encodings), 8):
        part = encodings[start : start + 8]
        assert len({len(encoding.ids) for encoding in part}) > 1
        logits = session.infer(encoder.pad(part))
        together += [logits[row, : len(encoding.ids)] for row, encoding in enumerate(part)]
        alone += [session.infer(encoder.pad([encoding]))[0] for encoding in part]
    assert_near(runtime, np.concatenate(together), np.concatenate(alone))


def test_it_can_be_asked_again_after_a_question_that_failed(session: Session, runtime: TensorBackend) -> None:
    batch = make_batch(2, 9)
    before = session.infer(batch)
    flat = {name: array[0] for name, array in batch.arrays.items()}
    with pytest.raises(Exception, match=r"."):  # each library has a class of its own
        session.infer(Batch(flat, n_tokens=9))
    assert_near(runtime, session.infer(batch), before)  # a compiler may have built another graph meanwhile


def test_it_leaves_the_batch_as_it_was(session: Session) -> None:
    batch, same = make_batch(3, 17), make_batch(3, 17)
    session.infer(batch)
    for name, array in batch.arrays.items():
        np.testing.assert_array_equal(array, same.arrays[name])


# --- what it says of itself -------------------------------------------------------------------------------


def test_it_knows_the_size_of_what_it_loads(
    runtime: TensorBackend, checkpoint: Checkpoint, prepared: Path | None
) -> None:
    loaded = [checkpoint.folder / "model.safetensors"]
    if prepared is not None and not isinstance(runtime, Torch):
        loaded = [path for path in prepared.iterdir() if path.name != "check.json"]
    assert runtime.model_size_bytes(prepared, checkpoint) == sum(path.stat().st_size for path in loaded) > 0


def test_its_memory_on_a_cpu_is_not_that_of_a_device(session: Session) -> None:
    assert session.device_memory_bytes() == {}


@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
@pytest.mark.slow
@pytest.mark.parametrize(
    "runtime", [RUNTIMES[0], RUNTIMES[3], RUNTIMES[5]], indirect=True, ids=lambda one: one.kind
)
def test_its_threads_are_those_that_were_asked_for(
    runtime: TensorBackend, checkpoint: Checkpoint, prepared: Path | None
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU: no second thread to ask for")
    described, running = {}, {}
    for threads in (1, 2):
        wanted = runtime.model_copy(update={"threads": threads})
        # Pools other than the runtime's own stay at one thread, so that what differs is the runtime's.
        answer = json.loads(
            run_fresh(
                COUNT_THREADS,
                wanted.model_dump_json(),
                str(checkpoint.folder),
                str(prepared or ""),
                OPENBLAS_NUM_THREADS="1",
                OMP_NUM_THREADS=str(threads),
            )
        )
        described[threads], running[threads] = answer["described"], answer["running"]
    assert {threads: facts["threads"] for threads, facts in described.items()} == {1: "1", 2: "2"}
    assert running[1] < running[2], "as the system counts them"
    if not isinstance(runtime, OpenVino):  # which has streams instead
        assert described[2]["interop_threads"] == "1"


COUNT_THREADS = """
import json, os, sys
from pathlib import Path
import numpy as np
from pydantic import TypeAdapter
from bakeoff.measure.backends import TensorBackend
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.tokenizer import Batch
runtime = TypeAdapter(TensorBackend).validate_json(sys.argv[1])
session = runtime.load(open_checkpoint(Path(sys.argv[2])), Path(sys.argv[3]) if sys.argv[3] else None)
ones = np.ones((64, 64), dtype=np.int64)
session.infer(Batch({"input_ids": ones, "attention_mask": ones, "token_type_ids": ones * 0}, ones.size))
print(json.dumps({"described": dict(session.describe()), "running": len(os.listdir("/proc/self/task"))}))
"""


@pytest.mark.parametrize("spinning", [True, False])
@pytest.mark.parametrize("memory_arena", [True, False])
def test_onnxruntime_reads_its_options_back(
    exported: tuple[Checkpoint, Path], spinning: bool, memory_arena: bool
) -> None:
    runtime = OnnxRuntime(threads=1, spinning=spinning, memory_arena=memory_arena)
    facts = runtime.load(*exported).describe()
    assert facts["spinning"] == str(int(spinning))
    assert facts["memory_arena"] == str(memory_arena)
    assert facts["providers"] == "CPUExecutionProvider"
    assert facts["graph_optimization"] == "ORT_ENABLE_ALL"


def test_settings_that_decide_no_file_share_one_export(exported: tuple[Checkpoint, Path]) -> None:
    settings = OnnxRuntime().prepare_settings()
    assert OnnxRuntime(threads=2, spinning=False, memory_arena=False).prepare_settings() == settings
    assert OnnxRuntime(precision="int8").prepare_settings() != settings


def test_runtimes_that_differ_in_more_than_threads_have_labels_of_their_own() -> None:
    more: tuple[TensorBackend, ...] = (
        OnnxRuntime(precision="int8"),
        OnnxRuntime(spinning=False),
        Torch(device="cuda"),
    )
    runtimes = (*RUNTIMES, *more)
    assert len({runtime.label for runtime in runtimes}) == len(runtimes)
    assert [runtime.label for runtime in RUNTIMES[1:5]] == [
        "torch-bf16",
        "torch-fp32-compile",
        "onnxruntime-fp32",
        "onnxruntime-int8-nospin-noarena",
    ]


@pytest.fixture(scope="session")
def exported(
    make_classifier: Callable[[str], Path], prepare_once: Callable[[Checkpoint, TensorBackend], Path | None]
) -> tuple[Checkpoint, Path]:
    checkpoint = open_checkpoint(make_classifier("bert"))
    folder = prepare_once(checkpoint, OnnxRuntime(threads=1))
    assert folder is not None
    return checkpoint, folder


def test_the_precision_in_force_is_the_one_that_was_asked_for(
    session: Session, runtime: TensorBackend
) -> None:
    facts = session.describe()
    if isinstance(runtime, Torch):
        assert facts["dtype"] == {"fp32": "float32", "bf16": "bfloat16"}[runtime.precision]
        assert facts["compile"] == ("inductor, dynamic shapes" if runtime.compile else "off")
    if isinstance(runtime, OpenVino):
        assert facts["precision_hint"] == {"fp32": "f32", "bf16": "bf16", "int8": "f32"}[runtime.precision]
        assert (
            facts["cpu_pinning"] == "False"
        )  # as of all others, whose threads go where the system puts them


@pytest.mark.parametrize(
    "runtime", [one for one in RUNTIMES if one.precision == "int8"], indirect=True, ids=lambda one: one.label
)
def test_weights_in_eight_bits_are_smaller(
    runtime: TensorBackend, checkpoint: Checkpoint, prepared: Path
) -> None:
    assert runtime.model_size_bytes(prepared, checkpoint) < checkpoint.size_bytes


def test_the_backend_that_computes_nothing_keeps_the_contract_too(checkpoint: Checkpoint) -> None:
    session = Noop().load(checkpoint, None)
    logits = session.infer(make_batch(3, 17))
    assert logits.shape == (3, 17, len(checkpoint.labels))
    assert logits.dtype == np.float32
    assert session.describe() == {}
    assert session.device_memory_bytes() == {}
    assert Noop().model_size_bytes(None, checkpoint) == 0


# --- what it imports, needs and refuses -------------------------------------------------------------------

LOAD = """
import sys
import bakeoff.run.measuring.worker
from pathlib import Path
from pydantic import TypeAdapter
from bakeoff.measure.backends import TensorBackend
from bakeoff.measure.model.checkpoint import open_checkpoint
runtime = TypeAdapter(TensorBackend).validate_json(sys.argv[1])
runtime.import_libraries()
session = runtime.load(open_checkpoint(Path(sys.argv[2])), Path(sys.argv[3]))
session.describe()
"""


@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
@pytest.mark.parametrize("runtime", RUNTIMES[3:], indirect=True, ids=lambda one: one.label)
def test_an_exported_model_runs_without_pytorch(
    runtime: TensorBackend, checkpoint: Checkpoint, prepared: Path | None, tmp_path: Path
) -> None:
    foreign = ("torch", "transformers", "onnx", "nncf", "mlflow", "optuna")
    program = LOAD + f"print([name for name in {foreign} if name in sys.modules])"
    arguments = (runtime.model_dump_json(), str(checkpoint.folder), str(prepared))
    assert run_fresh(program, *arguments, HOME=str(tmp_path)) == "[]"
    assert list(tmp_path.iterdir()) == [], "no library leaves anything in the user's home"


BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
from pydantic import TypeAdapter
from bakeoff.errors import MissingExtraError
from bakeoff.measure.backends import TensorBackend
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.backends.parity import CHECK_MAX_LENGTH, Sample
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.tasks import TokenClassification
runtime = TypeAdapter(TensorBackend).validate_json(sys.argv[1])
checkpoint = open_checkpoint(Path(sys.argv[2]))
sample = Sample(TokenClassification(), (Encoder(checkpoint, CHECK_MAX_LENGTH).encode(("play", "music")),))
steps = (
    lambda: runtime.require_installed(),
    lambda: runtime.import_libraries(),
    lambda: runtime.prepare(checkpoint, Path(sys.argv[3]), sample),
    lambda: runtime.load(checkpoint, Path(sys.argv[3])),
)
said = []
for step in steps:
    try:
        step()
    except MissingExtraError as error:
        said.append(str(error))
print(said)
"""


@pytest.mark.parametrize(
    ("runtime_", "library", "said"),
    [
        (OnnxRuntime(), "onnxruntime", f"onnxruntime is not installed; run `{install_command('onnx')}`"),
        (OpenVino(), "openvino", f"openvino is not installed; run `{install_command('openvino')}`"),
        (Torch(compile=True), "torch", f"torch is not installed; run `{install_command('torch')}`"),
        (Torch(compile=True), "transformers", "transformers is not installed"),
    ],
    ids=["onnxruntime", "openvino", "torch", "transformers"],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra_at_every_step(
    exported: tuple[Checkpoint, Path], runtime_: TensorBackend, library: str, said: str
) -> None:
    checkpoint, folder = exported
    program = f"BLOCKED = {(library,)}\n" + BLOCK
    answers = ast.literal_eval(
        run_fresh(program, runtime_.model_dump_json(), str(checkpoint.folder), str(folder))
    )
    assert len(answers) == 4
    assert all(said in answer for answer in answers)


@pytest.mark.parametrize(
    ("runtime_", "library", "extra"),
    [
        (OnnxRuntime(), "torch", "torch"),
        (OnnxRuntime(), "onnx", "onnx"),
        (OpenVino(precision="int8"), "nncf", "openvino"),
    ],
    ids=["torch", "onnx", "nncf"],
)
def test_a_library_that_only_preparing_needs_is_asked_for_then(
    exported: tuple[Checkpoint, Path], runtime_: TensorBackend, library: str, extra: str
) -> None:
    checkpoint, folder = exported
    program = f"BLOCKED = {(library,)}\n" + BLOCK.replace("in steps:", "in steps[:3]:")
    answers = ast.literal_eval(
        run_fresh(program, runtime_.model_dump_json(), str(checkpoint.folder), str(folder))
    )
    assert len(answers) == 1
    assert f"{library} is not installed; run `{install_command(extra)}`" in answers[0]


def test_bf16_is_refused_where_the_cpu_does_not_compute_in_it(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: old\nflags\t\t: fpu avx2 avx512f avx512_vnni\n")
    with pytest.raises(UnsupportedRuntimeError, match=r"torch-bf16: .*; it needs a CPU with .*amx_bf16"):
        require_bf16("torch-bf16", cpuinfo)
    with pytest.raises(UnsupportedRuntimeError, match=r"found no .*absent; .*; use precision: fp32"):
        require_bf16("torch-bf16", tmp_path / "absent")
    cpuinfo.write_text("Features\t: fp asimd bf16\n")
    require_bf16("torch-bf16", cpuinfo)


def test_cuda_is_refused_where_there_is_none(exported: tuple[Checkpoint, Path]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    checkpoint, folder = exported
    with pytest.raises(
        UnsupportedRuntimeError, match=r"torch-fp32-cuda: .*; it needs a CUDA device; set device: cpu"
    ):
        Torch(device="cuda").prepare(checkpoint, folder, sample_of(checkpoint, read_texts()))


@pytest.mark.slow
def test_compiling_without_a_compiler_says_what_to_install(
    exported: tuple[Checkpoint, Path], tmp_path: Path
) -> None:
    checkpoint, _ = exported
    program = """
import sys
from pathlib import Path
from bakeoff.errors import CheckpointError, UnsupportedRuntimeError
from bakeoff.measure.backends import Torch
from bakeoff.measure.backends.parity import CHECK_MAX_LENGTH, Sample
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.tasks import TokenClassification
try:
    checkpoint = open_checkpoint(Path(sys.argv[1]))
    sample = Sample(TokenClassification(), (Encoder(checkpoint, CHECK_MAX_LENGTH).encode(("play",)),))
    Torch(threads=1, compile=True).prepare(checkpoint, Path(sys.argv[2]), sample)
except UnsupportedRuntimeError as error:
    print(error)
"""
    said = run_fresh(
        program,
        str(checkpoint.folder),
        str(tmp_path),
        CXX="/nonexistent/c++",
        TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert said.startswith("runtime torch-fp32-compile: found ")
    assert "; it needs a C++ compiler that torch.compile can use; " in said
    assert said.endswith("install g++ or set CXX, or use compile: false")
    assert not (tmp_path / "check.json").exists()


@pytest.mark.parametrize("runtime", RUNTIMES[1:], indirect=True, ids=lambda one: one.label)
def test_what_was_not_compared_is_not_loaded(checkpoint: Checkpoint, runtime: TensorBackend) -> None:
    with pytest.raises(CheckpointError, match="nothing was prepared"):
        runtime.load(checkpoint, None)
