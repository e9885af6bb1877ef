"""Safetensors weights on disk, in one file or several with an index, checked by their headers alone.

A header states where each tensor's bytes lie, so a truncated file is found without reading all of it. Pickled
weights can run code while they load; bakeoff never loads them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from bakeoff.disk.inputs import UnsuitableFileError, read_regular
from bakeoff.disk.names import find_name_fault
from bakeoff.errors import CheckpointError

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLED_FILES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the limit that the safetensors format itself sets
MAX_INDEX_BYTES = 20_000_000  # twice the index of a model of 100,000 tensors
_METADATA = "__metadata__"
# Types that hold a weight as it is. All others need scales, by which nothing here multiplies.
_PLAIN_TYPES = frozenset({"F64", "F32", "F16", "BF16"})
# Types of whole bytes, with their number. The shape of a tensor of another type cannot be checked, so it
# does not count.
_TYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
_MAX_AXES = 64  # of a tensor of PyTorch
_AGAIN = "acquire the checkpoint again"


@dataclass(frozen=True)
class WeightFiles:
    """Weights of a checkpoint, by what their headers say.

    Attributes:
        files: Names of the files: one, or several shards.
        shapes: Shape of each tensor, by its name; it fits the tensor's bytes.
    """

    files: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]


def check_weights(folder: Path) -> WeightFiles:
    """Check the weights of a checkpoint by their headers.

    Raises:
        CheckpointError: The weights are missing, pickled, truncated or quantized, or the index does not fit
            the files.
    """
    if (folder / WEIGHTS_FILE).is_file():  # transformers prefers it to an index too
        return WeightFiles((WEIGHTS_FILE,), _read_tensors(folder, WEIGHTS_FILE))
    if (folder / INDEX_FILE).is_file():
        return _check_shards(folder)
    pickled = next((name for name in PICKLED_FILES if (folder / name).exists()), None)
    found = f"no {WEIGHTS_FILE}" + (f" but {pickled}, which is pickled and never loaded" if pickled else "")
    raise CheckpointError(
        folder,
        found=found,
        fix="convert the weights where you trust them: load them and call save_pretrained(folder)",
    )


def read_json(folder: Path, name: str, max_bytes: int) -> dict[str, Any]:
    """Read a JSON object of a checkpoint, of at most so many bytes."""
    path = folder / name
    try:
        text = read_regular(path, max_bytes)
    except UnsuitableFileError as error:
        raise CheckpointError(folder, found=f"{name} is {error}", fix="log the checkpoint again") from None
    return _parse_mapping(folder, name, text)


def _parse_mapping(folder: Path, name: str, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
        if b"\\u" in text:  # half of a surrogate pair is JSON, but no label or name
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise CheckpointError(
            folder, found=f"{name} has half of a surrogate pair", fix="correct its \\u escape"
        ) from None
    except RecursionError:
        raise CheckpointError(
            folder, found=f"{name} is nested too deeply", fix="log the checkpoint again"
        ) from None
    except ValueError as error:
        raise CheckpointError(folder, found=f"{name} is not valid JSON ({error})", fix=_AGAIN) from error
    if not isinstance(value, dict):
        raise CheckpointError(folder, found=f"{name} is not a JSON object", fix=_AGAIN)
    return value


def _check_shards(folder: Path) -> WeightFiles:
    table = read_json(folder, INDEX_FILE, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(file, str) for file in table.values()):
        raise CheckpointError(
            folder,
            found=f"{INDEX_FILE} has no weight_map from tensors to files",
            fix="save the checkpoint again",
        )
    shards = sorted(set(table.values()))
    for shard in shards:
        fault = find_name_fault(shard)
        if fault or not shard.endswith(".safetensors"):
            raise CheckpointError(
                folder,
                found=f"{INDEX_FILE} names a shard that is not a plain .safetensors file "
                f"({fault or repr(shard)})",
                fix="find out where this checkpoint comes from before you use it",
            )
        if not (folder / shard).is_file() or (folder / shard).is_symlink():
            raise CheckpointError(
                folder, found=f"{INDEX_FILE} names {shard}, which is not in the folder", fix=_AGAIN
            )
    held = {shard: _read_tensors(folder, shard) for shard in shards}
    missing = sorted(tensor for tensor, shard in table.items() if tensor not in held[shard])
    if missing:
        raise CheckpointError(
            folder,
            found=f"{missing[0]!r} is not in its file of {INDEX_FILE} (missing tensors: {len(missing)})",
            fix="acquire the checkpoint again, since shards of two checkpoints are mixed",
        )
    shapes = {name: shape for tensors in held.values() for name, shape in tensors.items()}
    return WeightFiles(tuple(shards), shapes)


def _read_tensors(folder: Path, name: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a file, after a check of its length against its header."""
    path = folder / name
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        header_bytes = struct.unpack("<Q", start)[0] if len(start) == _LENGTH_BYTES else size_bytes
        if header_bytes > min(_MAX_HEADER_BYTES, size_bytes - len(start)):
            raise CheckpointError(folder, found=f"{name} has an incomplete header", fix=_AGAIN)
        header = _parse_mapping(folder, f"the header of {name}", file.read(header_bytes))
    tensors = {tensor: entry for tensor, entry in header.items() if tensor != _METADATA}
    end = _end_of_all(tensors.values())
    if not end:
        raise CheckpointError(folder, found=f"{name} has no readable header", fix=_AGAIN)
    expected_bytes = _LENGTH_BYTES + header_bytes + end
    if size_bytes != expected_bytes:
        raise CheckpointError(
            folder, found=f"{name} has {size_bytes} bytes, its header says {expected_bytes}", fix=_AGAIN
        )
    for tensor, entry in tensors.items():
        kind = str(entry.get("dtype"))
        if not _fits(entry):
            raise CheckpointError(
                folder, found=f"{name} has {tensor}, whose bytes do not fit its shape", fix=_AGAIN
            )
        if tensor.endswith(".weight") and kind not in _PLAIN_TYPES:
            raise CheckpointError(
                folder,
                found=f"{name} has {tensor} as {kind[:20]}, which is quantized",
                fix=f"dequantize the model and save it as one of {', '.join(sorted(_PLAIN_TYPES))}",
            )
    return {
        tensor: _shape_of(entry)
        for tensor, entry in tensors.items()
        if str(entry.get("dtype")) in _TYPE_BYTES
    }


def _end_of_all(entries: Iterable[object]) -> int | None:
    """Return where the bytes of the last tensor end, from the end of the header; None if it is not stated.

    The tensors must lie one after the other, as the format demands. If they shared their bytes, a small file
    could pass for a large model.
    """
    spans = [_span_of(entry) for entry in entries]
    end = 0
    for begin, next_end in sorted(span for span in spans if span is not None):
        if begin != end:
            return None
        end = next_end
    return None if None in spans else end


def _span_of(entry: object) -> tuple[int, int] | None:
    """Return where a tensor's bytes begin and end; None if not stated."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    match offsets:
        case [int(begin), int(end)] if 0 <= begin <= end:
            return begin, end
    return None


def _fits(entry: dict[str, Any]) -> bool:
    """Return whether a tensor has as many bytes as its shape needs, if its type has whole bytes."""
    size_bytes = _TYPE_BYTES.get(str(entry.get("dtype")))
    begin, end = entry["data_offsets"]
    return size_bytes is None or prod(_shape_of(entry)) * size_bytes == end - begin


def _shape_of(entry: dict[str, Any]) -> tuple[int, ...]:
    """Return a tensor's shape; that of a single value if it is not stated."""
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > _MAX_AXES:
        return ()
    return tuple(shape) if all(type(size) is int and size >= 0 for size in shape) else ()
