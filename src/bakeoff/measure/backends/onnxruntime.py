"""ONNX Runtime: the checkpoint is exported once, compared with PyTorch, then run without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bakeoff.errors import CheckpointError, UnsupportedRuntimeError
from bakeoff.measure.backends.availability import library_versions
from bakeoff.measure.backends.graph_runtime import GraphRuntime
from bakeoff.measure.backends.onnx_export import move_export
from bakeoff.measure.model.graph import LOGITS
from bakeoff.measure.model.tokenizer import Batch

EXTRA = "onnx"
LIBRARIES = ("onnxruntime",)
GPU_LIBRARY = "onnxruntime-gpu"  # it brings the same module
CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
_INT8_METHOD = "onnxruntime quantize_dynamic, weights QInt8 by channel, activations by call"
_SPINNING = "session.intra_op.allow_spinning"


class OnnxRuntime(GraphRuntime):
    """ONNX Runtime on the CPU or a CUDA device.

    Attributes:
        libraries: Distributions that loading needs, besides those of every runtime.
        build_libraries: Distributions that preparing and measuring need as well.
        extras: Extras of bakeoff that bring all of them.
        precision: Type of weights and arithmetic. ``int8`` keeps the weights in eight bits and quantises
            activations at every call, each tensor as a whole. So the output for a document depends slightly
            on the other documents in its batch. ``given`` runs a given ONNX graph as it is.
        device: Device of the model. ``cuda`` needs the package onnxruntime-gpu instead of onnxruntime, and
            runs fp32 and given graphs. It is written, not run: no such device was at hand. ``make check-gpu``
            checks it on yours.
        threads: Intra-op threads; null means all physical cores that this process may use.
        spinning: Whether idle threads of the pool busy-wait for the next operator. This is faster, but idle
            cores look busy to other processes.
        memory_arena: Whether to keep freed memory for the next call. This is faster, but the memory is never
            given back.
    """

    libraries: ClassVar[tuple[str, ...]] = LIBRARIES
    build_libraries: ClassVar[tuple[str, ...]] = (
        "onnx",
        "onnxscript",
        "torch",
        "transformers",
        "safetensors",
        "tokenizers",
        "seqeval",
    )
    extras: ClassVar[tuple[str, ...]] = ("torch", "onnx")
    extra: ClassVar[str] = EXTRA
    made_with: ClassVar[tuple[str, ...]] = ("torch", "transformers", "onnx", "onnxruntime")
    making: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx")
    format_settings: ClassVar[Mapping[str, str]] = {"format": "onnx", "version": "4"}
    model_file: ClassVar[str] = "model.onnx"

    kind: Literal["onnxruntime"] = "onnxruntime"
    precision: Literal["fp32", "int8", "given"] = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None
    spinning: bool = True
    memory_arena: bool = True

    @model_validator(mode="after")
    def _int8_has_a_cpu(self) -> Self:
        if self.precision == "int8" and self.device != "cpu":
            raise ValueError(
                "precision int8 needs device: cpu, since its operators have no CUDA kernels; "
                "set it, or use precision: fp32"
            )
        return self

    @property
    def label(self) -> str:
        """Short name for tables: ``onnxruntime-fp32``, ``onnxruntime-int8-nospin``."""
        parts: list[str] = [self.kind] if self.precision == "given" else [self.kind, self.precision]
        parts += [] if self.spinning else ["nospin"]
        parts += [] if self.memory_arena else ["noarena"]
        parts += ["cuda"] if self.device == "cuda" else []
        return "-".join(parts)

    def prepare_settings(self) -> dict[str, str] | None:
        """Return the settings that decide the files; on a GPU, they are compared there."""
        settings = super().prepare_settings()
        if settings is None or self.device == "cpu":
            return settings
        return {**settings, "device": self.device, **library_versions(GPU_LIBRARY)}

    @property
    def _file_label(self) -> str:
        return super()._file_label + ("-cuda" if self.device == "cuda" else "")

    def _list_steps(self) -> tuple[str, ...]:
        return (_INT8_METHOD,) if self.precision == "int8" else ()

    def _import(self) -> None:
        _import_onnxruntime()

    def _make(self, exported: Path, destination: Path) -> None:
        if self.precision == "fp32":
            move_export(exported, destination)
        else:
            _quantize(exported, destination)

    def _open(self, path: Path) -> OnnxSession:
        onnxruntime = _import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self.threads or 0
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.enable_cpu_mem_arena = self.memory_arena
        options.add_session_config_entry(_SPINNING, str(int(self.spinning)))
        try:
            session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=self._list_providers(onnxruntime)
            )
        except Exception as error:  # the library has a class for each of its states
            reason = str(error).partition("\n")[0][:200]
            raise CheckpointError(
                path, found=f"ONNX Runtime cannot load it ({reason})", fix="use another runtime"
            ) from error
        if self.device == "cuda" and CUDA_PROVIDER not in session.get_providers():
            # The library falls back to the CPU with no more than a line in its log.
            raise self._no_device("a CUDA device that it cannot use; its log above has the reason")
        return OnnxSession(session)

    def _list_providers(self, onnxruntime: Any) -> list[str | tuple[str, dict[str, str]]]:
        if self.device == "cpu":
            return [CPU_PROVIDER]
        if CUDA_PROVIDER not in onnxruntime.get_available_providers():
            raise self._no_device(f"a build without {CUDA_PROVIDER}")
        # TF32 has ten bits of mantissa, and would be measured under the name of fp32. The CPU takes operators
        # without a CUDA kernel.
        return [(CUDA_PROVIDER, {"use_tf32": "0"}), CPU_PROVIDER]

    def _no_device(self, found: str) -> UnsupportedRuntimeError:
        return UnsupportedRuntimeError(
            self.label,
            needs=f"a CUDA device and the package {GPU_LIBRARY}",
            found=found,
            fix=f"install {GPU_LIBRARY} instead of onnxruntime, or set device: cpu",
        )


class OnnxSession:
    """Open ONNX model; it takes the inputs that its graph names."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [entry.name for entry in session.get_inputs()]
        outputs = [entry.name for entry in session.get_outputs()]
        self._outputs = [LOGITS if LOGITS in outputs else outputs[0]]
        # A given graph may want ids of 32 bits.
        self._types = {
            entry.name: np.int32 for entry in session.get_inputs() if entry.type == "tensor(int32)"
        }

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits: [documents, tokens, labels], or [documents, labels]."""
        inputs = {name: batch.arrays[name] for name in self._names}
        for name, kind in self._types.items():
            inputs[name] = inputs[name].astype(kind)
        logits: NDArray[np.float32] = self._session.run(self._outputs, inputs)[0]
        return logits

    def describe(self) -> Mapping[str, str]:
        """Return the session's options, read back from the library."""
        options = self._session.get_session_options()
        return {
            "providers": ", ".join(self._session.get_providers()),
            "threads": str(options.intra_op_num_threads),
            "interop_threads": str(options.inter_op_num_threads),
            "execution_mode": options.execution_mode.name,
            "graph_optimization": options.graph_optimization_level.name,
            "memory_arena": str(options.enable_cpu_mem_arena),
            "spinning": options.get_session_config_entry(_SPINNING),
            "build": _import_onnxruntime().get_build_info(),
        }

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: the library counts no device memory."""
        return {}


def _import_onnxruntime() -> Any:
    """Import onnxruntime without its telemetry.

    Otherwise the import starts a thread alongside the measured work that reports to a server, and writes an
    identifier into the user's cache folder. The library reads the variable while it loads.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def _quantize(source: Path, destination: Path) -> None:
    """Write the model with weights in eight bits."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(source), str(destination), per_channel=True, weight_type=QuantType.QInt8)
