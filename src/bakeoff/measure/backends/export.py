"""PyTorch to ONNX: one file with free batch and sequence dimensions."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

from bakeoff.measure.model.tokenizer import INPUT_NAMES, Batch

OPSET = 17


def export_onnx(model: Any, sample: Batch, path: Path) -> None:
    """Write a model's graph and fp32 weights, and leave the model in eval mode.

    Weights of more than 2 GB do not fit the format's one file: the exporter then writes them beside it, one
    file a tensor, and runtimes find them there. Tried with 2.3 GB: the export took 7 GB of memory, making
    eight-bit weights of it 18 GB.

    Args:
        model: Of transformers, on the CPU.
        sample: What it is traced with; shapes of other batches may differ.
        path: The file; its folder is where large weights go.
    """
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
    # The older exporter restores the training flag of what it was given, and a model in train mode drops out
    # at random: what is compared with, and what is measured later, must be in eval mode.
    model.eval()
