"""Weights on disk: safetensors files, one or several with an index, checked by their headers alone.

A header states where each tensor's bytes lie, so that a file that was cut short is noticed without reading
it. Pickled weights can run code when they are loaded; nothing here or elsewhere loads them.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from bakeoff.disk.names import find_name_fault
from bakeoff.errors import CheckpointError

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLED_FILES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the limit that the safetensors format itself sets
MAX_INDEX_BYTES = 20_000_000  # that of a model of 100,000 tensors is half as long
_METADATA = "__metadata__"
_AGAIN = "it is cut short or broken; acquire the checkpoint again"


def check_weights(folder: Path) -> tuple[str, ...]:
    """Check the weights of a checkpoint; returns the names of their files.

    Raises:
        CheckpointError: There are none, they are pickled, a file is cut short, or the index names something
            that is not in its file or not in the folder.
    """
    if (folder / WEIGHTS_FILE).is_file():  # transformers prefers it to an index too
        _read_tensors(folder, WEIGHTS_FILE)
        return (WEIGHTS_FILE,)
    if (folder / INDEX_FILE).is_file():
        return _check_shards(folder)
    pickled = next((name for name in PICKLED_FILES if (folder / name).exists()), None)
    found = f"no {WEIGHTS_FILE}" + (f" but {pickled}, which is pickled and never loaded" if pickled else "")
    raise CheckpointError(
        folder,
        found=found,
        fix="convert the weights where you trust them: load them there and call "
        "save_pretrained(folder), which writes safetensors",
    )


def read_json(folder: Path, name: str, max_bytes: int) -> dict[str, Any]:
    """A JSON mapping of a checkpoint, of bounded length.

    Raises:
        CheckpointError: It is longer, no JSON, no mapping, or nested without reason.
    """
    path = folder / name
    if path.stat().st_size > max_bytes:
        raise CheckpointError(
            folder, found=f"{name} has {path.stat().st_size} bytes (limit {max_bytes})", fix="log it again"
        )
    return _parse_mapping(folder, name, path.read_bytes())


def _parse_mapping(folder: Path, name: str, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except RecursionError:
        raise CheckpointError(folder, found=f"{name} is nested too deeply", fix="log it again") from None
    except ValueError as error:
        raise CheckpointError(folder, found=f"{name} holds no JSON ({error})", fix=_AGAIN) from error
    if not isinstance(value, dict):
        raise CheckpointError(folder, found=f"{name} holds no mapping", fix=_AGAIN)
    return value


def _check_shards(folder: Path) -> tuple[str, ...]:
    table = read_json(folder, INDEX_FILE, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(file, str) for file in table.values()):
        raise CheckpointError(
            folder, found=f"{INDEX_FILE} has no weight_map from tensors to files", fix="save it again"
        )
    shards = sorted(set(table.values()))
    for shard in shards:
        fault = find_name_fault(shard)
        if fault or not shard.endswith(".safetensors"):
            raise CheckpointError(
                folder,
                found=f"{INDEX_FILE} names a shard that is no plain .safetensors file "
                f"({fault or repr(shard)})",
                fix="do not use this checkpoint before you know who wrote it",
            )
        if not (folder / shard).is_file() or (folder / shard).is_symlink():
            raise CheckpointError(
                folder, found=f"{INDEX_FILE} names {shard}, which is not in the folder", fix=_AGAIN
            )
    held = {shard: _read_tensors(folder, shard) for shard in shards}
    lacking = sorted(tensor for tensor, shard in table.items() if tensor not in held[shard])
    if lacking:
        raise CheckpointError(
            folder,
            found=f"{len(lacking)} tensors are not in the file that {INDEX_FILE} names, first {lacking[0]!r}",
            fix="shards of two checkpoints are mixed; acquire the checkpoint again",
        )
    return tuple(shards)


def _read_tensors(folder: Path, name: str) -> frozenset[str]:
    """Names of the tensors in a file whose length is what its header says."""
    path = folder / name
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        header_bytes = struct.unpack("<Q", start)[0] if len(start) == _LENGTH_BYTES else size_bytes
        if header_bytes > min(_MAX_HEADER_BYTES, size_bytes - len(start)):
            raise CheckpointError(folder, found=f"{name} has no whole header", fix=_AGAIN)
        header = _parse_mapping(folder, f"the header of {name}", file.read(header_bytes))
    tensors = {tensor: entry for tensor, entry in header.items() if tensor != _METADATA}
    ends = [_end_of(entry) for entry in tensors.values()]
    if not ends or None in ends:
        raise CheckpointError(folder, found=f"{name} has no readable header", fix=_AGAIN)
    expected_bytes = _LENGTH_BYTES + header_bytes + max(end for end in ends if end is not None)
    if size_bytes != expected_bytes:
        raise CheckpointError(
            folder, found=f"{name} has {size_bytes} bytes, its header says {expected_bytes}", fix=_AGAIN
        )
    return frozenset(tensors)


def _end_of(entry: object) -> int | None:
    """Where a tensor's bytes end, counted from the end of the header; None if that is not said."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    match offsets:
        case [int(begin), int(end)] if 0 <= begin <= end:
            return end
    return None
