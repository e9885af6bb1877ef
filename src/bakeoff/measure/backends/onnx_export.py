"""Export from PyTorch to ONNX: one graph with free batch and sequence dimensions."""

from __future__ import annotations

import inspect
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bakeoff.errors import BakeoffError, CheckpointError
from bakeoff.measure.backends import parity
from bakeoff.measure.backends.parity import Agreement, Sample
from bakeoff.measure.backends.pretrained import load_reference
from bakeoff.measure.backends.torch import find_answers
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Batch

EXPORT_FILE = "model.onnx"
OPSET = 17
CAPTURE_OPSET = 20
# The kernel that transformers prefers for a mixture of experts is not an operator of ONNX. This way of
# computing the same consists of operators that are.
_EXPORTABLE_EXPERTS = "batched_mm"


@dataclass(frozen=True)
class Exporter:
    """Way of turning a model into a graph.

    Attributes:
        name: Name, for the record of the comparison.
        write: Function that writes the graph of a model, for batches like a sample, to a path.
    """

    name: str
    write: Callable[[Any, Batch, Path], None]


def make_and_compare(
    checkpoint: Checkpoint,
    sample: Sample,
    folder: Path,
    make: Callable[[Path], None],
    load: Callable[[], Session],
    *,
    open_graph: Callable[[Path], Session],
    runtime: str,
    precision: str,
) -> tuple[Agreement, str]:
    """Export a checkpoint, make a runtime's files of it, and compare the outputs with PyTorch's.

    The second exporter has its turn if the first fails, or if the runtime cannot run the graph as PyTorch
    runs the model. It takes several times as long. No exporter helps if the graph is right, and fewer bits
    make other predictions of it.

    Args:
        checkpoint: Checkpoint to export.
        sample: Documents to trace with and to compare on.
        folder: Folder for the runtime's files; nothing else may be in it.
        make: Makes the runtime's files in the folder from an exported graph.
        load: Loads them as the measurement will.
        open_graph: Loads the exported graph itself, in fp32.
        runtime: Name of the runtime, for messages.
        precision: Precision of the runtime.

    Returns:
        The agreement with PyTorch, and the name of the exporter.

    Raises:
        CheckpointError: Padding changes PyTorch's own outputs, or no exporter's graph gives the same ones.
    """
    model = load_reference(checkpoint)
    wanted = find_answers(checkpoint, sample, model)
    faults = []
    for exporter in EXPORTERS:
        is_right = False  # the graph; then the fault is that of the precision
        with TemporaryDirectory(dir=folder) as aside:
            path = Path(aside) / EXPORT_FILE
            try:
                with _exportable_experts(model):
                    exporter.write(model, sample.first_batch(checkpoint), path)
                make(path)
                found = parity.compare(wanted, load(), checkpoint, sample)
                fault = found.find_fault(precision, sample.task.least_agreement)
                if fault is None:
                    return found, exporter.name
                faults.append(f"outputs of {runtime} {fault}")
                if precision != "fp32":
                    graph = parity.compare(wanted, open_graph(path), checkpoint, sample)
                    is_right = graph.find_fault("fp32", sample.task.least_agreement) is None
            except CheckpointError as error:
                faults.append(f"{runtime}: {error.found}")
            except BakeoffError:
                raise
            except Exception as error:  # noqa: BLE001 - exporters and runtimes raise errors of every class
                faults.append(f"{runtime} cannot run it ({parity.describe_error(error)})")
        _empty(folder)
        if is_right:
            faults = faults[-1:]
            break
    raise CheckpointError(
        checkpoint.folder, found=faults[0], fix="use another precision or runtime, or report the architecture"
    )


def move_export(path: Path, destination: Path) -> None:
    """Move an exported graph and its weights; the weights are in files next to it, found by their names."""
    for each in path.parent.iterdir():
        each.rename(destination.parent / (destination.name if each == path else each.name))


def _trace(model: Any, sample: Batch, path: Path) -> None:
    """Write the graph of one call, with fp32 weights, and leave the model in eval mode.

    Weights of more than 2 GB do not fit into one file of the format. The exporter then writes them next to
    it, one file per tensor, and runtimes find them there. In a trial with 2.3 GB, the export took 7 GB of
    memory, and the conversion to eight-bit weights took 18 GB.
    """
    import torch

    names, arrays = _choose_inputs(model, sample)
    free = {0: "documents", 1: "tokens"}
    is_per_token = type(model).__name__.endswith("ForTokenClassification")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracer warnings are for authors of models
        torch.onnx.export(
            _logits_of(model, names),
            arrays,
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


def _capture(model: Any, sample: Batch, path: Path) -> None:
    """Write the graph that torch.export captures: it knows more operators, and sees more of the shapes."""
    import torch

    names, arrays = _choose_inputs(model, sample)
    free = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _logits_of(model, names),
            arrays,
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=(tuple(free for _ in names),),
            opset_version=CAPTURE_OPSET,
            dynamo=True,
            verbose=False,
        )


TRACE = Exporter(f"torch.onnx.export, traced, opset {OPSET}", _trace)
CAPTURE = Exporter(f"torch.onnx.export, captured, opset {CAPTURE_OPSET}", _capture)
EXPORTERS = (TRACE, CAPTURE)


def _choose_inputs(model: Any, sample: Batch) -> tuple[list[str], tuple[Any, ...]]:
    """Return the names and values of the inputs that a model takes."""
    import torch

    accepted = inspect.signature(model.forward).parameters
    names = [name for name in sample.arrays if name in accepted]
    return names, tuple(torch.from_numpy(sample.arrays[name]) for name in names)


def _logits_of(model: Any, names: list[str]) -> Any:
    """Return a module that takes a model's inputs by position, and returns its logits alone."""
    import torch

    class Logits(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arrays: Any) -> Any:
            return self.model(**dict(zip(names, arrays, strict=True))).logits

    return Logits().eval()


@contextmanager
def _exportable_experts(model: Any) -> Iterator[None]:
    """Let a mixture of experts compute with operators of ONNX alone."""
    before = getattr(model.config, "_experts_implementation", None)
    if before is None:
        yield
        return
    model.set_experts_implementation(_EXPORTABLE_EXPERTS)
    try:
        yield
    finally:
        model.set_experts_implementation(before)


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()
