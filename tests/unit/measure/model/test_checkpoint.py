"""What is refused before anything is loaded."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.errors import CheckpointError
from bakeoff.measure.model.checkpoint import open_checkpoint

WriteTensors = Callable[[Path, Mapping[str, bytes]], None]

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def checkpoint(tmp_path: Path, make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def sharded(checkpoint: Path, make_safetensors: WriteTensors) -> Path:
    (checkpoint / "model.safetensors").unlink()
    make_safetensors(checkpoint / SHARDS[0], {"a": b"a" * 10, "b": b"b" * 10})
    make_safetensors(checkpoint / SHARDS[1], {"c": b"c" * 30})
    write_index(checkpoint, {"a": SHARDS[0], "b": SHARDS[0], "c": SHARDS[1]})
    return checkpoint


def write_index(folder: Path, weight_map: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")


def test_a_checkpoint_in_shards_is_opened_and_its_size_is_that_of_all_shards(sharded: Path) -> None:
    checkpoint = open_checkpoint(sharded)
    assert checkpoint.weight_files == SHARDS
    assert checkpoint.size_bytes == sum((sharded / name).stat().st_size for name in SHARDS)


def test_a_single_file_is_taken_before_an_index_as_transformers_does(
    sharded: Path, make_safetensors: WriteTensors
) -> None:
    make_safetensors(sharded / "model.safetensors", {"a": b"a"})
    assert open_checkpoint(sharded).weight_files == ("model.safetensors",)


@pytest.mark.parametrize(
    "shard",
    [
        "../outside.safetensors",
        "/etc/outside.safetensors",
        "sub/inside.safetensors",
        "..",
        "",
        "pytorch_model-00001-of-00002.bin",
        "model\u200b.safetensors",
        "a\\..\\b.safetensors",
    ],
)
def test_an_index_that_names_anything_but_a_plain_safetensors_file_is_refused(
    sharded: Path, shard: str
) -> None:
    write_index(sharded, {"a": SHARDS[0], "b": shard})
    with pytest.raises(CheckpointError, match=r"names a shard that is not a plain \.safetensors file"):
        open_checkpoint(sharded)


def test_a_shard_that_is_a_link_is_refused(sharded: Path, tmp_path: Path) -> None:
    (sharded / SHARDS[1]).rename(tmp_path / "elsewhere")
    (sharded / SHARDS[1]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="not in the folder"):
        open_checkpoint(sharded)


def test_a_missing_shard_and_a_missing_tensor_are_named(sharded: Path) -> None:
    write_index(sharded, {"a": SHARDS[0], "d": SHARDS[1]})
    with pytest.raises(CheckpointError, match=r"'d' is not in its file of .* \(missing tensors: 1\)"):
        open_checkpoint(sharded)
    write_index(sharded, {"a": SHARDS[0], "c": "model-3.safetensors"})
    with pytest.raises(CheckpointError, match=r"names model-3\.safetensors, which is not in the folder"):
        open_checkpoint(sharded)


def test_a_shard_that_is_cut_short_is_refused(sharded: Path) -> None:
    path = sharded / SHARDS[1]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"{SHARDS[1]} has \d+ bytes, its header says \d+"):
        open_checkpoint(sharded)


@pytest.mark.parametrize("weight_map", [None, {}, [], {"a": 1}, {"a": None}, "a"])
def test_an_index_without_a_usable_table_is_refused(sharded: Path, weight_map: Any) -> None:
    write_index(sharded, weight_map)
    with pytest.raises(CheckpointError, match="has no weight_map from tensors to files"):
        open_checkpoint(sharded)


def test_pickled_weights_are_not_taken_and_the_message_says_to_convert_them(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin, which is pickled and never loaded; convert"
    ):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 3}, 510),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "t5", "n_positions": 512}, None),  # of which T5 makes no use
        ({"text_config": {"max_position_embeddings": 128}}, 128),
        ({"max_position_embeddings": None}, None),
        ({}, None),
    ],
)
def test_the_model_says_how_many_tokens_it_takes(
    tmp_path: Path, make_checkpoint: Callable[..., Path], config: dict[str, Any], expected: int | None
) -> None:
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "model", **config))
    assert checkpoint.max_positions == expected
    assert checkpoint.token_limit(100_000) == (expected or 100_000)
    assert checkpoint.token_limit(8) == 8


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "bert", "type_vocab_size": 2}, True),
        ({"model_type": "xlnet"}, True),
        ({"model_type": "gpt2"}, False),  # it would read token types as tokens
        ({"model_type": "deberta-v2", "type_vocab_size": 0}, False),
    ],
)
def test_only_a_model_with_token_types_gets_them(
    tmp_path: Path, make_checkpoint: Callable[..., Path], config: dict[str, Any], expected: bool
) -> None:
    assert open_checkpoint(make_checkpoint(tmp_path / "model", **config)).has_token_types is expected


def test_the_padding_token_may_be_that_of_a_text_model_inside(
    tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    folder = make_checkpoint(tmp_path / "model", pad_token_id=None, text_config={"pad_token_id": 7})
    assert open_checkpoint(folder).pad_token_id == 7


def write_header(folder: Path, name: str, kind: str, shape: list[int]) -> None:
    """Replace the weights by one tensor of zeros."""
    n_bytes = shape[0] * shape[1] * (1 if kind.startswith(("F8", "I8", "U8")) else 4)
    header = json.dumps({name: {"dtype": kind, "shape": shape, "data_offsets": [0, n_bytes]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(n_bytes))


@pytest.mark.parametrize(
    ("config", "table", "expected"),
    [
        ({}, "bert.embeddings.position_embeddings.weight", 48),
        ({"model_type": "gpt2"}, "transformer.wpe.weight", 48),
        ({"model_type": "roberta"}, "roberta.embeddings.position_embeddings.weight", 46),
        ({"model_type": "opt"}, "model.decoder.embed_positions.weight", 46),
        ({"max_position_embeddings": 40}, "bert.embeddings.position_embeddings.weight", 40),
        ({"model_type": "t5"}, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", None),
    ],
)
def test_without_a_maximum_in_the_config_the_table_of_positions_has_it(
    checkpoint: Path,
    make_checkpoint: Callable[..., Path],
    config: dict[str, Any],
    table: str,
    expected: int | None,
) -> None:
    make_checkpoint(checkpoint, **config)
    write_header(checkpoint, table, "F32", [48, 2])
    assert open_checkpoint(checkpoint).max_positions == expected


@pytest.mark.parametrize("kind", ["F8_E4M3", "I8", "U8"])
def test_weights_of_a_type_that_needs_scales_are_refused(checkpoint: Path, kind: str) -> None:
    write_header(checkpoint, "bert.pooler.dense.weight", kind, [2, 2])
    with pytest.raises(
        CheckpointError, match=rf"has bert\.pooler\.dense\.weight as {kind}, which is quantized"
    ):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_next_to_the_weights_is_refused(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_text("{}")
    with pytest.raises(CheckpointError, match=rf"{name}, an adapter .*; merge it and save"):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize("place", [None, "text_config"])
@pytest.mark.parametrize("field", ["quantization_config", "compression_config"])
def test_a_config_that_quantizes_while_loading_is_refused(
    tmp_path: Path, make_checkpoint: Callable[..., Path], field: str, place: str | None
) -> None:
    asked = {field: {"quant_method": "bitsandbytes", "load_in_8bit": True}}
    folder = make_checkpoint(tmp_path / "model", **(asked if place is None else {place: asked}))
    with pytest.raises(CheckpointError, match=rf"has the {field} 'bitsandbytes'; dequantize"):
        open_checkpoint(folder)


@pytest.mark.parametrize("value", [0, -1, "512", 512.5, True])
def test_a_vocabulary_size_that_cannot_be_one_is_refused(
    tmp_path: Path, make_checkpoint: Callable[..., Path], value: object
) -> None:
    with pytest.raises(CheckpointError, match="has the vocab_size"):
        open_checkpoint(make_checkpoint(tmp_path / "model", vocab_size=value))


@pytest.mark.parametrize("value", [0, -1, "512", 512.5, True, [512]])
def test_a_number_of_positions_that_cannot_be_one_is_refused(
    tmp_path: Path, make_checkpoint: Callable[..., Path], value: object
) -> None:
    with pytest.raises(CheckpointError, match="has the max_position_embeddings"):
        open_checkpoint(make_checkpoint(tmp_path / "model", max_position_embeddings=value))


def test_weights_under_another_name_in_the_config_are_refused(
    tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    folder = make_checkpoint(tmp_path / "other", transformers_weights="other.safetensors")
    with pytest.raises(CheckpointError, match="names other weights in transformers_weights"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 200_000, "config.json is nested too deeply"),
        ('{"a":' * 200_000, "config.json is nested too deeply"),
        (" " * 5_000_001, "config.json is 5,000,001 bytes; at most 5,000,000 are allowed"),
        ("9" * 10_000, "is not valid JSON"),
        ("[]", "is not a JSON object"),
        ("{", "is not valid JSON"),
        ("", "is not valid JSON"),
    ],
)
def test_a_config_that_no_one_wrote_in_good_faith_is_refused(
    checkpoint: Path, text: str, reason: str
) -> None:
    (checkpoint / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize("value", ["abc", -1, 1.5, [0], {}])
def test_a_padding_id_that_is_no_token_id_is_refused(
    tmp_path: Path, make_checkpoint: Callable[..., Path], value: Any
) -> None:
    with pytest.raises(CheckpointError, match="has the pad_token_id"):
        open_checkpoint(make_checkpoint(tmp_path / "padding", pad_token_id=value))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a": {"data_offsets": [0, "4"]}}',
        b'{"a": {"data_offsets": ["0", "4"]}}',
        b'{"a": {"data_offsets": [4, 0]}}',
        b'{"a": {"data_offsets": [-1, 4]}}',
        b'{"a": {"data_offsets": [0, 1e999]}}',
        b'{"a": {"data_offsets": 4}}',
        b'{"a": 4}',
        b"\xff\xfe",
    ],
)
def test_weights_whose_header_cannot_be_read_are_refused(checkpoint: Path, header: bytes) -> None:
    (checkpoint / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        open_checkpoint(checkpoint)


@pytest.mark.parametrize("claimed", [2**63, 2**64 - 1, 100_000_001, 5000])
def test_a_header_longer_than_its_file_is_not_read(checkpoint: Path, claimed: int) -> None:
    (checkpoint / "model.safetensors").write_bytes(struct.pack("<Q", claimed) + b"{}")
    with pytest.raises(CheckpointError, match="has an incomplete header"):
        open_checkpoint(checkpoint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(index=st.dictionaries(st.sampled_from(["weight_map", "metadata"]), JSON), config=JSON)
def test_whatever_index_and_config_hold_the_answer_is_a_checkpoint_or_one_clear_line(
    sharded: Path, index: Any, config: Any
) -> None:
    (sharded / INDEX).write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(sharded)
    assert "\n" not in str(caught.value)
    (sharded / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(sharded)
    assert "\n" not in str(caught.value)
