"""PyTorch: the checkpoint as transformers loads it, eager or compiled."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bakeoff.errors import UnsupportedRuntimeError
from bakeoff.measure.backends import parity
from bakeoff.measure.backends.availability import library_versions, require_bf16, require_libraries
from bakeoff.measure.backends.pretrained import (
    EXTRA,
    LIBRARIES,
    import_libraries,
    load_model,
    load_reference,
)
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.session import ModelKind
from bakeoff.measure.model.tokenizer import Batch
from bakeoff.record import Record

if TYPE_CHECKING:
    import torch

INTEROP_THREADS = 1  # one call after the other: nothing runs in parallel inside the model


class Torch(Record):
    """PyTorch, eager or compiled.

    Attributes:
        libraries: Distributions that loading needs, besides those of every runtime.
        build_libraries: Distributions that preparing and measuring need as well.
        extras: Extras of bakeoff that bring all of them.
        precision: Type of weights and arithmetic. ``bf16`` and ``fp16`` convert the fp32 weights of the
            checkpoint; logits are float32 in any case. ``fp16`` needs ``device: cuda``.
        device: Device of the model. ``cuda`` is written, not run: no such device was at hand.
            ``make check-gpu`` checks it on yours.
        threads: Intra-op threads; null means all physical cores that this process may use.
        compile: Whether to compile the model with torch.compile, which needs a C++ compiler. Every process
            compiles again, or reads the cache in PyTorch's own temporary folder. Shapes are dynamic, so a new
            length compiles nothing. A batch of one document is a separate graph.
    """

    libraries: ClassVar[tuple[str, ...]] = LIBRARIES
    build_libraries: ClassVar[tuple[str, ...]] = (
        "tokenizers",
        "seqeval",
    )
    extras: ClassVar[tuple[str, ...]] = ("torch",)

    kind: Literal["torch"] = "torch"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None
    compile: bool = False

    @model_validator(mode="after")
    def _fp16_has_a_gpu(self) -> Self:
        if self.precision == "fp16" and self.device != "cuda":
            raise ValueError("precision fp16 needs device: cuda; set it, or use precision: bf16 or fp32")
        return self

    @property
    def runs(self) -> ModelKind:
        """Kind of the models that it loads."""
        return "checkpoint"

    @property
    def label(self) -> str:
        """Short name for tables: ``torch-fp32``, ``torch-bf16-compile``."""
        parts: list[str] = [self.kind, self.precision]
        parts += ["compile"] if self.compile else []
        parts += ["cuda"] if self.device == "cuda" else []
        return "-".join(parts)

    @property
    def is_reference(self) -> bool:
        """Whether this is the reference of all comparisons."""
        return (self.precision, self.device, self.compile) == ("fp32", "cpu", False)

    def for_graph(self) -> Self | None:
        """Return None: it runs no graph."""
        return None

    def require_installed(self) -> None:
        """Refuse to go on if a library of the ``torch`` extra is missing, before anything is measured."""
        require_libraries(f"the {self.kind} backend", extra=EXTRA, libraries=LIBRARIES)

    def import_libraries(self) -> None:
        """Import what loading needs, so that imports and loading are timed separately."""
        self.require_installed()
        import_libraries()

    def prepare_settings(self) -> dict[str, str] | None:
        """Return the settings that decide the comparison, as its cache key."""
        return {"check": self.label, "version": "3", **library_versions("torch", "transformers")}

    def prepare(self, checkpoint: Checkpoint, folder: Path, sample: parity.Sample) -> None:
        """Compare the outputs with those of fp32, eager, on the CPU; write only the result.

        These themselves are compared too: of each document alone with the same in padded batches.

        Raises:
            CheckpointError: The outputs differ too much; nothing may be timed then.
            UnsupportedRuntimeError: The settings need a CPU, GPU or compiler that is missing.
        """
        self.import_libraries()
        wanted = find_answers(checkpoint, sample)
        found = (
            parity.compare_with_itself(wanted, checkpoint, sample)
            if self.is_reference
            else self._compare(wanted, checkpoint, sample)
        )
        parity.write_check(
            found,
            folder,
            checkpoint,
            runtime=self.label,
            precision=self.precision,
            task=sample.task,
            made_by="nothing made; the checkpoint is loaded as it is",
            versions=library_versions("torch", "transformers"),
        )

    def load(
        self, checkpoint: Checkpoint, prepared: Path | None, *, is_verified: bool = False
    ) -> TorchSession:
        """Load the checkpoint in eval mode.

        Raises:
            CheckpointError: Weights are missing or do not fit the architecture, or the outputs of these
                settings were not compared yet.
            UnsupportedRuntimeError: The settings need a CPU, GPU or compiler that is missing.
        """
        if not (is_verified or self.is_reference):
            parity.verify(prepared, checkpoint)
        return self._open(checkpoint)

    def model_size_bytes(self, prepared: Path | None, checkpoint: Checkpoint) -> int:
        """Return the size of the weights on disk."""
        del prepared
        return checkpoint.size_bytes

    def _compare(
        self,
        wanted: Sequence[NDArray[np.float32]],
        checkpoint: Checkpoint,
        sample: parity.Sample,
    ) -> parity.Agreement:
        session = self._open(checkpoint)
        try:
            return parity.compare(wanted, session, checkpoint, sample)
        except _compile_errors() as error:
            raise UnsupportedRuntimeError(
                self.label,
                needs="a C++ compiler that torch.compile can use",
                found=parity.describe_error(error),
                fix="install g++ or set CXX, or use compile: false",
            ) from error

    def _open(self, checkpoint: Checkpoint) -> TorchSession:
        self.import_libraries()
        import torch

        self._require_device()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        with suppress(RuntimeError):  # too late once work has begun; describe() reports the number in force
            torch.set_num_interop_threads(INTEROP_THREADS)
        model = load_model(checkpoint)
        if self.precision != "fp32":
            model = model.to({"bf16": torch.bfloat16, "fp16": torch.float16}[self.precision])
        if self.compile:
            # Otherwise helper processes compile ahead, and stay alongside the measured work.
            import torch._inductor.config

            torch._inductor.config.compile_threads = 1
        session = TorchSession(model.to(self.device), self.device, is_compiled=self.compile)
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        return session

    def _require_device(self) -> None:
        import torch

        if self.device == "cpu":
            if self.precision == "bf16":
                require_bf16(self.label)
            return
        if not torch.cuda.is_available():
            raise UnsupportedRuntimeError(
                self.label,
                needs="a CUDA device",
                found=f"none visible to torch {torch.__version__}",
                fix="set device: cpu",
            )
        if self.precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UnsupportedRuntimeError(
                self.label,
                needs="a CUDA device that computes in bf16",
                found=torch.cuda.get_device_name(),
                fix="use precision: fp32",
            )


class TorchSession:
    """Model on its device.

    Args:
        model: Model of transformers in eval mode, already on the device.
        device: ``cpu`` or ``cuda``.
        is_compiled: Whether calls go through torch.compile.
    """

    def __init__(self, model: Any, device: str, *, is_compiled: bool = False) -> None:
        import torch

        self._model = model
        self._device = device
        self._is_compiled = is_compiled
        self._names = frozenset(inspect.signature(model.forward).parameters)
        self._call = torch.compile(model, dynamic=True) if is_compiled else model

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits: [documents, tokens, labels] or [documents, labels], after the device has ended."""
        import torch

        with torch.inference_mode():
            inputs: dict[str, torch.Tensor] = {
                name: torch.from_numpy(array).to(self._device)
                for name, array in batch.arrays.items()
                if name in self._names
            }
            logits: NDArray[np.float32] = self._call(**inputs).logits.float().cpu().numpy()
            return logits

    def describe(self) -> Mapping[str, str]:
        """Return what PyTorch reports of itself and of the model."""
        import torch

        facts = {
            "device": str(self._model.device),
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "attention": str(self._model.config._attn_implementation),
            "threads": str(torch.get_num_threads()),
            "interop_threads": str(torch.get_num_interop_threads()),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "parallel": "; ".join(
                line.strip() for line in torch.__config__.parallel_info().split("\n") if line
            ),
            "compile": "off",
        }
        if self._is_compiled:
            from torch._dynamo.utils import counters

            # It grows if a call had to compile: after growth between two blocks, the second was not steady.
            facts |= {
                "compile": "inductor, dynamic shapes",
                "compiled_graphs": str(counters["stats"]["unique_graphs"]),
            }
        if self._device == "cuda":
            facts["device_name"] = torch.cuda.get_device_name()
        return facts

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Return PyTorch's peaks since loading, of tensors and of its allocator, weights included."""
        if self._device != "cuda":
            return {}
        import torch

        return {
            "max_allocated": torch.cuda.max_memory_allocated(),
            "max_reserved": torch.cuda.max_memory_reserved(),
        }


def find_answers(
    checkpoint: Checkpoint, sample: parity.Sample, model: Any = None
) -> list[NDArray[np.float32]]:
    """Return PyTorch's logits for all batches of a comparison, as ``answer_all`` does.

    Args:
        checkpoint: Checkpoint of the model.
        sample: Documents to compare on; its file of answers saves computing them, or gets them.
        model: The reference; None loads it if it is needed.
    """
    kept = parity.read_answers(sample)
    if kept is not None:
        return kept
    session = TorchSession(load_reference(checkpoint) if model is None else model, "cpu")
    answers = parity.answer_all(session, checkpoint, sample)
    parity.keep_answers(answers, sample)
    return answers


def _compile_errors() -> tuple[type[Exception], ...]:
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    return (TorchDynamoException, CppCompileError, InvalidCxxCompiler)
