"""OpenVINO: the ONNX export is converted once, compared with PyTorch, then run without PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff.errors import UnsupportedRuntimeError
from bakeoff.measure.backends import parity
from bakeoff.measure.backends.availability import library_versions, require_bf16, require_libraries
from bakeoff.measure.backends.onnx_export import OPSET, make_and_compare
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.tokenizer import INPUT_NAMES, Batch
from bakeoff.record import Record

EXTRA = "openvino"
LIBRARIES = ("openvino",)
MODEL_FILE = "model.xml"  # its weights are in model.bin
MADE_WITH = ("torch", "transformers", "onnx", "openvino", "nncf")
_INT8_METHOD = "nncf compress_weights, INT8_SYM"
# By default it computes in bf16 if the CPU can, so the hint is always given.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
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


class OpenVino(Record):
    """OpenVINO on the CPU, one stream, tuned for latency.

    Shapes are dynamic. The first call of each new shape prepares it, so the warm-up visits all measured
    lengths.

    Attributes:
        libraries: Distributions that loading needs, besides those of every runtime.
        build_libraries: Distributions that preparing and measuring need as well.
        extras: Extras of bakeoff that bring all of them.
        precision: Type of weights and arithmetic. ``bf16`` is arithmetic in bfloat16 on fp32 weights.
            ``int8`` keeps the weights in eight bits (nncf) and lets the library quantise activations at every
            call; the rest is fp32.
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

    kind: Literal["openvino"] = "openvino"
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    device: Literal["cpu"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None

    @property
    def label(self) -> str:
        """Short name for tables: ``openvino-fp32``."""
        return f"{self.kind}-{self.precision}"

    def require_installed(self) -> None:
        """Refuse to go on if openvino is not installed, before anything is measured."""
        require_libraries(f"the {self.kind} backend", extra=EXTRA, libraries=LIBRARIES)

    def import_libraries(self) -> None:
        """Import what loading needs, so that imports and loading are timed separately."""
        self.require_installed()
        _import_openvino()

    def prepare_settings(self) -> dict[str, str] | None:
        """Return the settings that decide the converted file and the comparison: the key of its cache."""
        return {
            "format": "openvino",
            "opset": str(OPSET),
            "precision": self.precision,
            "version": "2",
            **library_versions(*MADE_WITH),
        }

    def prepare(self, checkpoint: Checkpoint, folder: Path, sample: parity.Sample) -> None:
        """Convert the checkpoint into a folder and compare the outputs with PyTorch's on real texts.

        Raises:
            CheckpointError: The outputs differ too much; nothing may be timed then.
            UnsupportedRuntimeError: The CPU does not compute in this precision.
        """
        needed = ("openvino", "onnx", *(("nncf",) if self.precision == "int8" else ()))
        require_libraries("conversion to OpenVINO", extra=EXTRA, libraries=needed)

        def make(exported: Path) -> OpenVinoSession:
            self._convert(exported, folder / MODEL_FILE)
            return self._open(folder / MODEL_FILE)

        found, exporter = make_and_compare(
            checkpoint, sample, folder, make, runtime=self.label, precision=self.precision
        )
        parity.write_check(
            found,
            folder,
            checkpoint,
            runtime=self.label,
            precision=self.precision,
            task=sample.task,
            made_by=f"{exporter}; openvino.convert_model"
            + (f"; {_INT8_METHOD}" if self.precision == "int8" else ""),
            versions=library_versions(*MADE_WITH),
        )

    def load(
        self, checkpoint: Checkpoint, prepared: Path | None, *, is_verified: bool = False
    ) -> OpenVinoSession:
        """Compile the converted model for this CPU.

        Raises:
            CheckpointError: Nothing was prepared, or its files changed since the comparison.
            UnsupportedRuntimeError: The CPU does not compute in this precision.
        """
        self.import_libraries()
        folder = parity.find(prepared, checkpoint, is_verified=is_verified)
        return self._open(folder / MODEL_FILE)

    def model_size_bytes(self, prepared: Path | None, checkpoint: Checkpoint) -> int:
        """Return the size of the converted files, graph and weights."""
        return parity.checked_size_bytes(prepared, checkpoint)

    def _convert(self, source: Path, destination: Path) -> None:
        openvino = _import_openvino()
        model = openvino.convert_model(str(source))
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
        compiled = _import_openvino().Core().compile_model(str(path), "CPU", settings)
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
        # An input also has the names of its copies in the graph, if the converter removed copies.
        self._names = [next(iter(entry.get_names() & set(INPUT_NAMES))) for entry in compiled.inputs]

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits: [documents, tokens, labels] or [documents, labels], copied out of the request."""
        inputs = {name: batch.arrays[name] for name in self._names}
        logits: NDArray[np.float32] = self._request.infer(inputs, share_inputs=True)[0]
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


def _import_openvino() -> Any:
    """Import openvino without its telemetry.

    Otherwise the import reports to a server, from a thread alongside the measured work, and writes an
    identifier into the user's home. openvino also works without that module, so it is made to look missing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
