"""Configurations that ask for more than their weights hold are refused by the headers alone."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bakeoff.errors import CheckpointError
from bakeoff.measure.model.checkpoint import open_checkpoint

SHAPES = {
    "bert.embeddings.word_embeddings.weight": [100, 8],
    "bert.embeddings.position_embeddings.weight": [60, 8],
    "bert.encoder.layer.0.attention.self.query.weight": [8, 8],
    "bert.encoder.layer.1.attention.self.query.weight": [8, 8],
    "classifier.weight": [2, 8],
}
SIZES = {
    "vocab_size": 100,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 60,
    "type_vocab_size": 2,
}


def write_tensors(folder: Path, entries: Mapping[str, Any], n_bytes: int) -> None:
    header = json.dumps(entries).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(n_bytes))


def describe(shapes: Mapping[str, list[int]]) -> tuple[dict[str, Any], int]:
    """The header's entries for tensors of float32, one after the other, and the bytes of all."""
    entries: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * shape[0] * shape[1]
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    return entries, end


@pytest.fixture
def make(tmp_path: Path, make_checkpoint: Callable[..., Path]) -> Callable[..., Path]:
    """Write a whole small model whose configuration has other fields."""

    def act(**changes: Any) -> Path:
        folder = make_checkpoint(tmp_path / "model", **SIZES | changes)
        write_tensors(folder, *describe(SHAPES))
        return folder

    return act


def test_sizes_that_the_weights_have_are_accepted(make: Callable[..., Path]) -> None:
    assert open_checkpoint(make()).vocab_size == 100
    # Several layers may use the same tensors; a list has a size for each layer; null means a default.
    open_checkpoint(make(num_hidden_layers=48, num_hidden_groups=1, intermediate_size=[16, 8], head_dim=None))
    # Rotary positions have no table: their number is no size.
    without_table = {name: shape for name, shape in SHAPES.items() if "position" not in name}
    folder = make(max_position_embeddings=10_000_000)
    write_tensors(folder, *describe(without_table))
    assert open_checkpoint(folder).max_positions == 10_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": 10**9},
        {"hidden_size": 10**9},
        {"text_config": {"hidden_size": 10**9}},
        {"d_model": 101},
        {"intermediate_size": [16, 10**9]},
        {"num_attention_heads": 10**9},
        {"max_position_embeddings": 10**9},
        {"num_labels": 10**9},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 101},
        {"block_sizes": [1, 10**9]},
        {"attention_types": [[["global", "local"], 10**9]]},
        {"num_local_experts": 10**9},
    ],
    ids=str,
)
def test_a_size_beyond_the_weights_is_refused_by_its_field(
    make: Callable[..., Path], changes: dict[str, Any]
) -> None:
    inner = changes.get("text_config", changes)
    (name,) = inner
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(make(**changes))
    assert f"config.json has the {name} {str(inner[name])[:40]}, but " in str(caught.value)
    assert str(caught.value).endswith("; restore the config.json that was saved with the weights")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["8", 8.0, -8, True, {}, [8, None]], ids=str)
def test_a_size_that_is_not_a_number_is_refused_by_its_field(
    make: Callable[..., Path], value: object
) -> None:
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
        with pytest.raises(CheckpointError, match=rf"config\.json has the {name} .* is not a whole number"):
            open_checkpoint(make(**{name: value}))


def test_a_padding_id_that_the_model_does_not_know_is_refused(make: Callable[..., Path]) -> None:
    assert open_checkpoint(make(pad_token_id=99)).pad_token_id == 99
    with pytest.raises(CheckpointError, match=r"pad_token_id '100', but the model knows 100 ids"):
        open_checkpoint(make(pad_token_id=100))


# A header that promises more than its file holds could vouch for any configuration.


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"dtype": "F32", "shape": [10**9, 8]}, "whose bytes do not fit its shape"),
        ({"dtype": "F32", "shape": [4]}, "whose bytes do not fit its shape"),
        ({"dtype": "F32", "shape": [True, 8]}, "whose bytes do not fit its shape"),
        ({"dtype": "F32", "shape": [9**99] * 10_000}, "whose bytes do not fit its shape"),
        ({"dtype": "F32"}, "whose bytes do not fit its shape"),
        ({"dtype": ["F32"], "shape": [8]}, "which is quantized"),
    ],
    ids=["long", "short", "flag", "endless", "none", "list of types"],
)
def test_a_shape_that_its_bytes_do_not_have_is_refused(
    make: Callable[..., Path], entry: dict[str, Any], fault: str
) -> None:
    folder = make()
    write_tensors(folder, {"a.weight": {**entry, "data_offsets": [0, 32]}}, 32)
    with pytest.raises(CheckpointError, match=fault):
        open_checkpoint(folder)


@pytest.mark.parametrize("offsets", [[0, 3200], [3204, 6404]], ids=["shared bytes", "a gap"])
def test_tensors_that_do_not_follow_each_other_are_refused(
    make: Callable[..., Path], offsets: list[int]
) -> None:
    entries, _ = describe(SHAPES)
    table = entries["bert.embeddings.word_embeddings.weight"]
    folder = make()
    write_tensors(folder, {"one": table, "other": {**table, "data_offsets": offsets}}, offsets[1])
    with pytest.raises(CheckpointError, match="has no readable header"):
        open_checkpoint(folder)


def test_a_label_that_is_not_text_is_refused(make: Callable[..., Path]) -> None:
    folder = make()
    path = folder / "config.json"
    path.write_text(path.read_text().replace("B-PER", "B-\\ud800"))
    with pytest.raises(CheckpointError, match=r"config\.json has half of a surrogate pair; correct"):
        open_checkpoint(folder)
