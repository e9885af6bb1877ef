"""``config.json`` of a checkpoint: its fields, each checked as it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bakeoff.errors import CheckpointError
from bakeoff.measure.model.declared_sizes import find_oversized, find_wrong_type
from bakeoff.measure.model.safetensors import WEIGHTS_FILE, WeightFiles, read_json

CONFIG_FILE = "config.json"
# Fields that make transformers quantize a model while it loads.
QUANTIZATION_FIELDS = ("quantization_config", "compression_config")
# Positions of these models begin after the padding token's id (create_position_ids_from_input_ids in
# transformers), so as many rows of their position table are never used.
OFFSET_MODELS = frozenset(
    {
        "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm",
        "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip
OFFSET_PAD_TOKEN_ID = 1  # of all these models, if config.json does not set it
# Fields of these models for the number of positions; of all others it is max_position_embeddings.
POSITION_FIELDS = {
    "ctrl": "n_positions", "gpt2": "n_positions", "gpt_bigcode": "n_positions", "gptj": "n_positions",
    "mpt": "max_seq_len", "openai-gpt": "n_positions",
}  # fmt: skip
# Tables with a row for each position, by the end of their names, for models whose configuration sets no
# maximum. Those named embed_positions begin with two rows that no token uses.
POSITION_TABLES = re.compile(r"(^|\.)(position_embeddings|wpe|positions_embed|embed_positions)\.weight$")
PADDING_TABLE, N_PADDING_ROWS = "embed_positions.weight", 2
UNNAMED_LABELS = ("LABEL_0", "LABEL_1")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
MAX_CONFIG_BYTES = 5_000_000  # twice the size of a label map of 100,000 names


def read_config_file(folder: Path) -> dict[str, Any]:
    """Read the file as a JSON object.

    Raises:
        CheckpointError: It is missing or broken, too large, or names other weights than are checked.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(
            folder, found=f"no {CONFIG_FILE}", fix="give a folder that save_pretrained() wrote"
        )
    config = read_json(folder, CONFIG_FILE, MAX_CONFIG_BYTES)
    if config.get("transformers_weights") is not None:
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} names other weights in transformers_weights",
            fix=f"save the weights as {WEIGHTS_FILE}, the only file that is checked",
        )
    return config


def refuse_quantization(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration by which transformers would quantize the model while it loads.

    Raises:
        CheckpointError: It has such a field.
    """
    field = next((name for name in QUANTIZATION_FIELDS if find_field(config, name) is not None), None)
    if field is not None:
        found = find_field(config, field)
        method = found.get("quant_method") if isinstance(found, dict) else None
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the {field} {str(method or found)[:40]!r}",
            fix="dequantize the model and save it again; runtimes with int8 quantize it themselves",
        )


def check_sizes(folder: Path, config: Mapping[str, Any], weights: WeightFiles) -> None:
    """Refuse sizes that are not whole numbers, and sizes for which the weights are far too small.

    Args:
        folder: Checkpoint folder, for the message.
        config: Content of its ``config.json``.
        weights: Its weights, by their headers.

    Raises:
        CheckpointError: There is such a size; the message names the field.
    """
    wrong = find_wrong_type(config)
    if wrong is not None:
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the {wrong[0]} {str(wrong[1])[:40]!r}, which is not a whole number",
            fix="set it to the number that the model was trained with",
        )
    learned = [_position_field(config)] if _position_tables(weights) else []
    too_large = find_oversized(config, weights.shapes, learned)
    if too_large is not None:
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has {too_large}",
            fix="restore the config.json that was saved with the weights",
        )


def read_label_names(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    """Read the label of each output, in their order.

    Raises:
        CheckpointError: None are named, or not one for each output.
    """
    table = config.get("id2label")
    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    if table is None and name.endswith("ForSequenceClassification"):
        return UNNAMED_LABELS  # save_pretrained leaves them out, since they are the default
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
            fix="fine-tune with id2label set, for example by `bakeoff sweep`",
        )
    return tuple(table[str(number)] for number in range(len(table)))


def read_architecture(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the first architecture that the configuration names, which is the class that saved it."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} names no architectures",
            fix="save the model with save_pretrained(), which names its class",
        )
    return names[0]


def read_model_type(config: Mapping[str, Any]) -> str:
    """Read the name by which transformers knows the model; another value than text gives an unknown name."""
    return str(config.get("model_type"))


def read_problem_type(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Read the kind of the training loss; None if it was not recorded.

    Raises:
        CheckpointError: transformers knows no such kind.
    """
    value = config.get("problem_type")
    if value is not None and value not in PROBLEM_TYPES:
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the problem_type {str(value)[:40]!r}",
            fix=f"set it to one of {', '.join(PROBLEM_TYPES)}",
        )
    return value


def find_field(config: Mapping[str, Any], name: str) -> Any:
    """Return a field, also from the text model inside a model of several kinds of input; None without it."""
    value = config.get(name)
    inner = config.get("text_config")
    return inner.get(name) if value is None and isinstance(inner, dict) else value


def read_pad_token_id(folder: Path, config: Mapping[str, Any]) -> int:
    """Read the token that fills shorter rows of a batch; the first one without the field.

    Raises:
        CheckpointError: The value is not a token id of the model.
    """
    value = find_field(config, "pad_token_id")
    if value is None:
        return 0
    most = find_field(config, "vocab_size")
    is_known = not isinstance(most, int) or not isinstance(value, int) or value < most
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or not is_known:
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the pad_token_id {str(value)[:40]!r}"
            + ("" if is_known else f", but the model knows {most} ids (vocab_size)"),
            fix="set it to the id of the tokenizer's padding token",
        )
    return value


def read_vocab_size(folder: Path, config: Mapping[str, Any]) -> int | None:
    """Read the number of token ids that the model knows; None without the field.

    Raises:
        CheckpointError: The value is not a number of token ids.
    """
    value = find_field(config, "vocab_size")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the vocab_size {str(value)[:40]!r}",
            fix="set it to the number of rows of the token embeddings",
        )
    return value


def count_positions(folder: Path, config: Mapping[str, Any], weights: WeightFiles) -> int | None:
    """Return the positions that the weights have rows for; None if no table of positions is found."""
    counts = [
        shape[0] - (N_PADDING_ROWS if name.endswith(PADDING_TABLE) else 0)
        for name, shape in _position_tables(weights).items()
    ]
    if not counts:
        return None
    return read_max_positions(folder, {**config, _position_field(config): min(counts)})


def _position_tables(weights: WeightFiles) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tables with a row for each position, by their names."""
    return {
        name: shape
        for name, shape in weights.shapes.items()
        if POSITION_TABLES.search(name) and len(shape) == 2  # noqa: PLR2004 - rows and columns
    }


def read_max_positions(folder: Path, config: Mapping[str, Any]) -> int | None:
    """Return the most tokens that a model has positions for; None if its configuration sets no maximum.

    Args:
        folder: Checkpoint folder, for the message.
        config: Content of its ``config.json``.
    """
    name = _position_field(config)
    value = find_field(config, name)
    if value is None:
        return None
    offset = 0
    if read_model_type(config) in OFFSET_MODELS:
        padding = config.get("pad_token_id")
        offset = (OFFSET_PAD_TOKEN_ID if padding is None else read_pad_token_id(folder, config)) + 1
    if not isinstance(value, int) or isinstance(value, bool) or value <= offset:
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the {name} {str(value)[:40]!r}",
            fix="set it to the number of positions of the model",
        )
    return value - offset


def _position_field(config: Mapping[str, Any]) -> str:
    return POSITION_FIELDS.get(read_model_type(config), "max_position_embeddings")
