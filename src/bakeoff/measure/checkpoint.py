"""What must be true of a folder before anything loads it as a checkpoint."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakeoff.errors import CheckpointError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the limit that the safetensors format itself sets


@dataclass(frozen=True)
class Checkpoint:
    """A fine-tuned token-classification checkpoint whose files are all there and whole.

    Attributes:
        folder: The folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
        labels: The tag of each output, in the order of the outputs.
        pad_token_id: What fills up shorter rows of a batch; masked, so it decides nothing.
    """

    folder: Path
    labels: tuple[str, ...]
    pad_token_id: int

    @property
    def tokenizer_file(self) -> Path:
        """The fast tokenizer, in the format of the ``tokenizers`` library."""
        return self.folder / TOKENIZER_FILE

    @property
    def size_bytes(self) -> int:
        """Size of the weights on disk."""
        return (self.folder / WEIGHTS_FILE).stat().st_size


def open_checkpoint(folder: Path) -> Checkpoint:
    """Check a checkpoint folder without loading its weights.

    Whether the weights fit the architecture is seen at loading, where it is checked again.

    Raises:
        CheckpointError: The folder, one of its files or the label map is missing or broken.
    """
    if not folder.is_dir():
        raise CheckpointError(folder, found="no such folder", cure="give the folder that holds config.json")
    config = _read_config(folder)
    if not (folder / TOKENIZER_FILE).is_file():
        raise CheckpointError(
            folder,
            found=f"no {TOKENIZER_FILE}",
            cure="save the fast tokenizer beside the weights: tokenizer.save_pretrained(folder)",
        )
    _check_weights(folder)
    return Checkpoint(folder, _labels(folder, config), pad_token_id=int(config.get("pad_token_id") or 0))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(
            folder, found=f"no {CONFIG_FILE}", cure="give a folder that save_pretrained() wrote"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(
            folder, found=f"{CONFIG_FILE} is no JSON ({error})", cure="log the checkpoint again"
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(folder, found=f"{CONFIG_FILE} is no mapping", cure="log the checkpoint again")
    return config


def _labels(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    table = config.get("id2label")
    numbers = {str(number) for number in range(len(table))} if isinstance(table, dict) else set()
    if (
        not isinstance(table, dict)
        or not table
        or set(table) != numbers
        or not all(isinstance(name, str) for name in table.values())
    ):
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has no id2label that names outputs 0, 1, …",
            cure="fine-tune with id2label set, for example by `bakeoff sweep`",
        )
    return tuple(table[str(number)] for number in range(len(table)))


def _check_weights(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(
            folder,
            found=f"no {WEIGHTS_FILE}",
            cure="save with safe_serialization; pickled weights are never loaded",
        )
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        header_bytes = struct.unpack("<Q", start)[0] if len(start) == _LENGTH_BYTES else _MAX_HEADER_BYTES + 1
        header = file.read(header_bytes) if header_bytes <= _MAX_HEADER_BYTES else b""
    try:
        tensors = json.loads(header)
        end = max(entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise CheckpointError(
            folder, found=f"{WEIGHTS_FILE} has no readable header", cure="acquire the checkpoint again"
        ) from error
    expected_bytes = _LENGTH_BYTES + header_bytes + end
    if path.stat().st_size != expected_bytes:
        raise CheckpointError(
            folder,
            found=f"{WEIGHTS_FILE} has {path.stat().st_size} bytes, its header says {expected_bytes}",
            cure="it was cut short; acquire the checkpoint again",
        )
