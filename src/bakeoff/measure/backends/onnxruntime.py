"""ONNX Runtime: the checkpoint exported once, checked against PyTorch, then run without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff import durable
from bakeoff.digest import digest_file
from bakeoff.errors import CheckpointError, MissingExtraError
from bakeoff.measure.checkpoint import Checkpoint
from bakeoff.measure.encoding import INPUT_NAMES, Batch, Encoder
from bakeoff.record import Record

MODEL_FILE = "model.onnx"
EXPORT_FILE = "export.json"
OPSET = 17
MAX_ABS_DIFFERENCE = 1e-4
CHECK_MAX_LENGTH = 128


class OnnxRuntime(Record):
    """ONNX Runtime on the CPU.

    Attributes:
        precision: Of weights and arithmetic.
        threads: Intra-op threads; null means all physical cores this process may use.
    """

    kind: Literal["onnxruntime"] = "onnxruntime"
    precision: Literal["fp32"] = "fp32"
    device: Literal["cpu"] = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None

    @property
    def label(self) -> str:
        """Short name for tables: ``onnxruntime-fp32``."""
        return f"{self.kind}-{self.precision}"

    @property
    def imports(self) -> tuple[str, ...]:
        """Libraries whose import is timed apart from loading."""
        return ("onnxruntime",)

    def prepare_settings(self) -> dict[str, str] | None:
        """What decides the exported file beside the checkpoint: the key of its cache."""
        return {"format": "onnx", "opset": str(OPSET), "precision": self.precision, "version": "1"}

    def prepare(self, checkpoint: Checkpoint, folder: Path, texts: Sequence[Sequence[str]]) -> None:
        """Export the checkpoint into a folder and compare the outputs with PyTorch's on real texts.

        Raises:
            CheckpointError: The outputs differ by more than the tolerance; nothing may be timed then.
            MissingExtraError: A library of the ``torch`` or ``onnx`` extra is not installed.
        """
        from bakeoff.measure.backends.torch import TorchSession, load_model

        model = load_model(checkpoint)
        path = folder / MODEL_FILE
        encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
        encodings = [encoder.encode(tokens) for tokens in texts]
        _export(model, encoder.pad(encodings[:2]), path)
        # The older exporter restores the training flag of what it was given, and a model in train mode drops
        # out at random: what is compared, and what is measured later, must be in eval mode.
        model.eval()
        reference, exported = TorchSession(model, "cpu"), open_session(path, threads=1)
        worst = 0.0
        for start in range(0, len(encodings), 8):
            batch = encoder.pad(encodings[start : start + 8])
            kept = batch.arrays["attention_mask"].astype(bool)
            gap = np.abs(reference.infer(batch)[kept] - exported.infer(batch)[kept])
            worst = float(np.maximum(worst, gap.max()))  # unlike max(), it does not lose a NaN
        if not worst <= MAX_ABS_DIFFERENCE:  # also refuses NaN
            raise CheckpointError(
                checkpoint.folder,
                found=f"exported outputs differ from PyTorch's by {worst:.3g} (limit {MAX_ABS_DIFFERENCE:g})",
                cure="this checkpoint is not measured with onnxruntime; report the architecture",
            )
        facts = {"max_abs_difference": worst, "texts": len(encodings), "sha256": digest_file(path)}
        durable.write_json(folder / EXPORT_FILE, facts)

    def load(self, checkpoint: Checkpoint, prepared: Path | None) -> OnnxSession:
        """Load the exported model.

        Raises:
            CheckpointError: The exported file is not the one that was checked.
            MissingExtraError: onnxruntime is not installed.
        """
        if prepared is None:
            raise CheckpointError(checkpoint.folder, found="no exported model", cure="export it first")
        path = prepared / MODEL_FILE
        expected = json.loads((prepared / EXPORT_FILE).read_text(encoding="utf-8"))["sha256"]
        if digest_file(path) != expected:
            raise CheckpointError(
                prepared, found=f"{MODEL_FILE} changed since it was checked", cure="remove this folder"
            )
        return open_session(path, self.threads)


def open_session(path: Path, threads: int | None) -> OnnxSession:
    """Open an ONNX file with our settings: threads explicit, all graph optimisations.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("the onnxruntime backend", library="onnxruntime", extra="onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    return OnnxSession(
        onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    )


class OnnxSession:
    """An open ONNX model; it takes those inputs that its graph names."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [entry.name for entry in session.get_inputs()]

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Return logits [documents, tokens, labels]."""
        logits: NDArray[np.float32] = self._session.run(
            None, {name: batch.arrays[name] for name in self._names}
        )[0]
        return logits


def _export(model: Any, sample: Batch, path: Path) -> None:
    """Write an ONNX file with free batch and sequence dimensions, from a wrapper in eval mode."""
    import inspect
    import warnings

    import torch

    accepted = inspect.signature(model.forward).parameters
    names = [name for name in INPUT_NAMES if name in accepted]

    class Logits(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arrays: Any) -> Any:
            return self.model(**dict(zip(names, arrays, strict=True))).logits

    free = {0: "documents", 1: "tokens"}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracer warnings speak to authors of models
        torch.onnx.export(
            Logits().eval(),
            tuple(torch.from_numpy(sample.arrays[name]) for name in names),
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_axes=dict.fromkeys([*names, "logits"], free),
            opset_version=OPSET,
            dynamo=False,
        )
