"""Small checkpoints, written by hand: whole by every check that is made without loading them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest


def write_safetensors(path: Path, tensors: Mapping[str, bytes]) -> None:
    """Write byte tensors in the format's own layout: length of the header, header, data."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensors.values()))


def write_checkpoint(folder: Path, tensors: Mapping[str, bytes] | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"model_type": "bert", "id2label": {"0": "O", "1": "B-PER"}} | config
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    write_safetensors(folder / "model.safetensors", tensors or {"classifier.weight": bytes(range(256)) * 4})
    return folder


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., Path]:
    """Write a checkpoint into a folder; keyword arguments are settings of its config.json."""
    return write_checkpoint


@pytest.fixture(scope="session")
def make_safetensors() -> Callable[[Path, Mapping[str, bytes]], None]:
    """Write a safetensors file of byte tensors."""
    return write_safetensors
