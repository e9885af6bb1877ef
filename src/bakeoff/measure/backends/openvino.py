"""OpenVINO: the ONNX export is converted once, compared with PyTorch, then run without PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff.errors import CheckpointError, UnsupportedRuntimeError
from bakeoff.measure.backends.availability import require_bf16
from bakeoff.measure.backends.graph_runtime import GraphRuntime
from bakeoff.measure.model.graph import LOGITS
from bakeoff.measure.model.tokenizer import INPUT_NAMES, Batch

EXTRA = "openvino"
LIBRARIES = ("openvino",)
_INT8_METHOD = "nncf compress_weights, INT8_SYM"
# By default it computes in bf16 if the CPU can, so the hint is always given.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "given": "f32"}
_DESCRIBED = {
    "execution_devices": "EXECUTION_DEVICES",
    "threads": "INFERENCE_NUM_THREADS",
    "streams": "NUM_STREAMS",
    "performance_hint": "PERFORMANCE_HINT",
    "execution_mode": "EXECUTION_MODE_HINT",
    "dynamic_quantization_group": "DYNAMIC_QUANTIZATION_GROUP_SIZE",
    "cpu_pinning": "ENABLE_CPU_PINNING",
    "hyper_threading": "ENABLE_HYPER_THREADING",
    "isa": "RUNTIME_REQUIREMENTS",
}


class OpenVino(GraphRuntime):
    """OpenVINO on the CPU, one stream, tuned for latency.

    Shapes are dynamic. The first call of each new shape prepares it, so the warm-up visits all measured
    lengths.

    Attributes:
        libraries: Distributions that loading needs, besides those of every runtime.
        build_libraries: Distributions that preparing and measuring need as well.
        extras: Extras of bakeoff that bring all of them.
        precision: Type of weights and arithmetic. ``bf16`` is arithmetic in bfloat16 on fp32 weights.
            ``int8`` keeps the weights in eight bits (nncf) and lets the library quantise activations at every
            call; the rest is fp32. ``given`` runs a given ONNX graph as it is, with arithmetic in fp32 where
            the graph leaves it open.
        device: The CPU only.
        threads: Threads of a call; null means all physical cores that this process may use.
    """

    libraries: ClassVar[tuple[str, ...]] = LIBRARIES
    build_libraries: ClassVar[tuple[str, ...]] = (
        "nncf",
        "onnx",
        "onnxscript",
        "torch",
        "transformers",
        "safetensors",
        "tokenizers",
        "seqeval",
    )
    extras: ClassVar[tuple[str, ...]] = ("torch", "openvino")
    extra: ClassVar[str] = EXTRA
    made_with: ClassVar[tuple[str, ...]] = ("torch", "transformers", "onnx", "openvino", "nncf")
    making: ClassVar[tuple[str, ...]] = ("openvino", "onnx")
    format_settings: ClassVar[Mapping[str, str]] = {"format": "openvino", "version": "3"}
    model_file: ClassVar[str] = "model.xml"  # its weights are in model.bin

    kind: Literal["openvino"] = "openvino"
    precision: Literal["fp32", "bf16", "int8", "given"] = "fp32"
    device: Literal["cpu"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None

    @property
    def label(self) -> str:
        """Short name for tables: ``openvino-fp32``."""
        if self.precision == "given":
            return self.kind
        return f"{self.kind}-{self.precision}"

    def _list_makers(self) -> tuple[str, ...]:
        return (*self.making, "nncf") if self.precision == "int8" else self.making

    def _list_steps(self) -> tuple[str, ...]:
        return ("openvino.convert_model", *((_INT8_METHOD,) if self.precision == "int8" else ()))

    def _import(self) -> None:
        _import_openvino()

    def _make(self, exported: Path, destination: Path) -> None:
        openvino = _import_openvino()
        model = openvino.convert_model(str(exported))
        if self.precision == "int8":
            import nncf

            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        # Its default would round the weights to fp16 on the way to disk.
        openvino.save_model(model, str(destination), compress_to_fp16=False)

    def _open(self, path: Path) -> OpenVinoSession:
        if self.precision == "bf16":
            require_bf16(self.label)
        hint = _HINTS[self.precision]
        settings: dict[str, str | int | bool] = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # no other runtime binds its threads to CPUs
        }
        if self.threads is not None:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        try:
            compiled = _import_openvino().Core().compile_model(str(path), "CPU", settings)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = (lines[-1] if lines else type(error).__name__)[:200]
            raise CheckpointError(
                path, found=f"OpenVINO cannot convert it ({reason})", fix="use another runtime"
            ) from error
        session = OpenVinoSession(compiled)
        if session.precision != hint:
            raise UnsupportedRuntimeError(
                self.label,
                needs=f"arithmetic in {hint}",
                found=f"{session.precision} in force",
                fix="use precision: fp32",
            )
        return session


class OpenVinoSession:
    """Compiled model and its one inference request; it takes the inputs that its graph names."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._names = [_name_of(entry) for entry in compiled.inputs]
        # A given graph may want ids of 32 bits.
        self._types = {
            name: np.int32
            for name, entry in zip(self._names, compiled.inputs, strict=True)
            if entry.get_element_type().get_type_name() == "i32"
        }
        names = [output.get_names() for output in compiled.outputs]
        self._output = next((at for at, known in enumerate(names) if LOGITS in known), 0)

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits: [documents, tokens, labels] or [documents, labels], copied out of the request."""
        inputs = {name: batch.arrays[name] for name in self._names}
        for name, kind in self._types.items():
            inputs[name] = inputs[name].astype(kind)
        logits: NDArray[np.float32] = self._request.infer(inputs, share_inputs=True)[self._output]
        return logits

    @property
    def precision(self) -> str:
        """Type of the arithmetic, as the compiled model reports it: ``f32``, ``bf16``."""
        return str(self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string())

    def describe(self) -> Mapping[str, str]:
        """Return the properties of the compiled model that this version of the library has."""
        known = self._compiled.get_property("SUPPORTED_PROPERTIES")
        facts = {
            ours: str(self._compiled.get_property(theirs))
            for ours, theirs in _DESCRIBED.items()
            if theirs in known
        }
        return {"precision_hint": self.precision, **facts, "build": _import_openvino().get_version()}

    def device_memory_bytes(self) -> Mapping[str, int]:
        """Return nothing: it runs on the CPU."""
        return {}


def _name_of(entry: Any) -> str:
    """Return the name of an input; it also has the names of its copies, if the converter removed copies."""
    known = [name for name in INPUT_NAMES if name in entry.get_names()]
    return known[0] if known else str(entry.get_any_name())


def _import_openvino() -> Any:
    """Import openvino without its telemetry.

    Otherwise the import reports to a server, from a thread alongside the measured work, and writes an
    identifier into the user's home. openvino also works without that module, so it is made to look missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
