"""Export from PyTorch to ONNX: one file with free batch and sequence dimensions."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

from bakeoff.measure.model.tokenizer import INPUT_NAMES, Batch

OPSET = 17


def export_onnx(model: Any, sample: Batch, path: Path) -> None:
    """Write a model's graph and fp32 weights, and leave the model in eval mode.

    Weights of more than 2 GB do not fit into one file of the format. The exporter then writes them next to
    it, one file per tensor, and runtimes find them there. In a trial with 2.3 GB, the export took 7 GB of
    memory, and the conversion to eight-bit weights took 18 GB.

    Args:
        model: Model of transformers, on the CPU.
        sample: Batch for tracing; other batches may have other shapes.
        path: File to write; large weights go into its folder.
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
    is_per_token = type(model).__name__.endswith("ForTokenClassification")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracer warnings are for authors of models
        torch.onnx.export(
            Logits().eval(),
            tuple(torch.from_numpy(sample.arrays[name]) for name in names),
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={**dict.fromkeys(names, free), "logits": free if is_per_token else {0: "documents"}},
            opset_version=OPSET,
            dynamo=False,
        )
    # The older exporter restores the training flag of its argument, and a model in train mode drops out at
    # random. The comparison and the later measurement need eval mode.
    model.eval()
