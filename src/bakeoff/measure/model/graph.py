"""A given ONNX graph: what its file says about inputs and outputs, and what lies next to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bakeoff.disk.names import find_path_fault
from bakeoff.errors import CheckpointError, MissingExtraError
from bakeoff.record import Record

GRAPH_FILE = "bakeoff-graph.json"
TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LOGITS = "logits"
_PER_TOKEN_RANK, _PER_TEXT_RANK = 3, 2
_INTEGERS = ("int64", "int32")
_FLOATS = ("float32", "float16", "float64")


class GraphValue(Record):
    """Input or output of a graph.

    Attributes:
        dtype: Name of its type in numpy, such as ``float32``.
        shape: Length of each axis; None for one that the graph leaves open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def described(self) -> str:
        """Name and shape for messages: ``logits [?, ?, 9]``."""
        return f"{self.name} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"


class Graph(Record):
    """What is known of a graph; kept as ``bakeoff-graph.json`` next to it.

    Attributes:
        file: Name of the graph.
        data_files: Names of the files with weights that the graph keeps outside.
        labels: Label of each output; empty if nothing names them.
        pad_token_id: Token that fills shorter rows of a batch.
        max_positions: Most tokens that the model accepts; None if it sets no maximum.
    """

    format_version: Literal[1] = 1
    file: str
    data_files: tuple[str, ...] = ()
    inputs: tuple[GraphValue, ...]
    outputs: tuple[GraphValue, ...]
    labels: tuple[str, ...] = ()
    pad_token_id: int = 0
    max_positions: int | None = None

    @property
    def output(self) -> GraphValue:
        """The output that holds the answer: the one named ``logits``, else the first one."""
        return next((value for value in self.outputs if value.name == LOGITS), self.outputs[0])

    @property
    def head(self) -> Literal["token_classification", "sequence_classification"] | None:
        """Head by the shape of the output: one row of logits a token, or one a text; None for others."""
        if self.output.dtype not in _FLOATS:
            return None
        if len(self.output.shape) == _PER_TOKEN_RANK:
            return "token_classification"
        return "sequence_classification" if len(self.output.shape) == _PER_TEXT_RANK else None

    @property
    def n_labels(self) -> int | None:
        """Number of logits; None if the graph leaves it open."""
        return self.output.shape[-1] if self.output.shape else None

    def find_text_fault(self) -> str | None:
        """Return why the graph cannot read texts of any length as token ids; None if it can."""
        foreign = [value.described for value in self.inputs if value.name not in TOKEN_INPUTS]
        if foreign:
            return f"the input {foreign[0]}, which no tokenizer makes"
        if not any(value.name == TOKEN_INPUTS[0] for value in self.inputs):
            return f"no input {TOKEN_INPUTS[0]}"
        for value in self.inputs:
            if value.dtype not in _INTEGERS or len(value.shape) != 2:  # noqa: PLR2004 - documents, tokens
                return f"the input {value.described} of {value.dtype}"
            if any(size is not None for size in value.shape):
                return f"the fixed shape of the input {value.described}"
        return None


def read_graph(path: Path, place: str) -> Graph:
    """Read inputs, outputs and external files of a graph, without its weights.

    Raises:
        CheckpointError: The file is not an ONNX graph, or names a file outside its folder.
        MissingExtraError: The package ``onnx`` is not installed.
    """
    try:
        import onnx
        from onnx.external_data_helper import ExternalDataInfo, uses_external_data
    except ImportError as error:
        raise MissingExtraError("reading an ONNX graph", library="onnx", extra="onnx") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the parser raises errors of several libraries
        reason = str(error).partition("\n")[0][:120]
        found = f"{path.name} is not an ONNX graph ({reason})"
        raise CheckpointError(place, found=found, fix="export it again") from error
    weights = {tensor.name for tensor in model.graph.initializer}
    outside = {
        ExternalDataInfo(tensor).location for tensor in model.graph.initializer if uses_external_data(tensor)
    }
    for name in outside:
        if fault := find_path_fault(name):
            raise CheckpointError(
                place, found=f"{path.name} names a file with weights: {fault}", fix="export it again"
            )
        if not (path.parent / name).is_file():
            raise CheckpointError(
                place, found=f"{path.name} without its file {name!r}", fix="put both into one folder"
            )
    graph = {
        "file": path.name,
        "data_files": sorted(outside),
        "inputs": [value for value in _list_values(model.graph.input) if value["name"] not in weights],
        "outputs": [*_list_values(model.graph.output)],
    }
    try:
        read = Graph.model_validate(graph)
    except ValidationError as error:
        found = f"{path.name} has an output or input that cannot be read ({error.errors()[0]['msg']})"
        raise CheckpointError(place, found=found, fix="export it again") from error
    if not read.inputs or not read.outputs:
        raise CheckpointError(place, found=f"{path.name} without inputs or outputs", fix="export it again")
    return read


def load_graph(folder: Path) -> Graph:
    """Load what ``read_graph`` found when the folder was made.

    Raises:
        CheckpointError: The record is broken.
    """
    try:
        return Graph.model_validate_json((folder / GRAPH_FILE).read_bytes())
    except ValidationError as error:
        found = f"{GRAPH_FILE} is not a whole record ({error.errors()[0]['msg']})"
        raise CheckpointError(folder, found=found, fix="remove the folder") from None


def _list_values(values: Any) -> Iterator[dict[str, Any]]:
    from onnx.helper import tensor_dtype_to_np_dtype

    for value in values:
        tensor = value.type.tensor_type
        try:
            dtype = str(tensor_dtype_to_np_dtype(tensor.elem_type))
        except (KeyError, ValueError, TypeError):  # a sequence or a map has no element type
            dtype = "unknown"
        shape = [each.dim_value if each.HasField("dim_value") else None for each in tensor.shape.dim]
        yield {"name": value.name, "dtype": dtype, "shape": shape}
