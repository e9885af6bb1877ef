"""Checks of a checkpoint folder before anything loads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bakeoff.disk.digest import digest_as, shorten
from bakeoff.errors import CheckpointError
from bakeoff.measure.model.graph import GRAPH_FILE, Graph, load_graph
from bakeoff.measure.model.safetensors import WEIGHTS_FILE, WeightFiles, check_weights, read_json

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
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
# Models with token types, but without a table of them (type_vocab_size).
TYPED_MODELS = frozenset({"xlnet"})
Head = Literal["token_classification", "sequence_classification"]
# End of the class name of each head in transformers.
HEADS: dict[str, Head] = {
    "ForTokenClassification": "token_classification",
    "ForSequenceClassification": "sequence_classification",
}
UNNAMED_LABELS = ("LABEL_0", "LABEL_1")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
MAX_CONFIG_BYTES = 5_000_000  # twice the size of a label map of 100,000 names


@dataclass(frozen=True)
class Checkpoint:
    """Fine-tuned checkpoint with complete files.

    Attributes:
        folder: Folder with ``config.json``, weights and ``tokenizer.json``.
        labels: Label of each output, in the order of the outputs.
        pad_token_id: Token that fills shorter rows of a batch; masked, so it changes no result.
        max_positions: Most tokens that the model accepts, special ones included; None if it sets no maximum.
        weight_files: Names of the safetensors files: one file or several shards.
        architecture: Class of transformers that saved it.
        problem_type: Kind of the loss that it was trained with; None if it was not recorded.
        has_token_types: Whether token types mark the two texts of a pair for the model. Some models
            without them take such an input too, and read its numbers as tokens.
        vocab_size: Number of token ids that the model knows; None if it is not recorded.
        graph: The ONNX graph, if the folder holds one instead of weights.
    """

    folder: Path
    labels: tuple[str, ...]
    pad_token_id: int
    max_positions: int | None = None
    weight_files: tuple[str, ...] = (WEIGHTS_FILE,)
    architecture: str = ""
    problem_type: str | None = None
    has_token_types: bool = True
    vocab_size: int | None = None
    graph: Graph | None = None

    @property
    def head(self) -> Head | None:
        """Head of the architecture, or of the graph's output; None if no task of ours has it."""
        if self.graph is not None:
            return self.graph.head
        return next((head for name, head in HEADS.items() if self.architecture.endswith(name)), None)

    @property
    def described(self) -> str:
        """Architecture, or output of the graph, for messages."""
        if self.graph is None:
            return f"the architecture {self.architecture}"
        return f"an ONNX graph with the output {self.graph.output.described}"

    @property
    def graph_path(self) -> Path:
        """Path of the ONNX graph.

        Raises:
            CheckpointError: The folder holds weights instead.
        """
        if self.graph is None:
            raise CheckpointError(self.folder, found="no ONNX graph", fix="use precision: fp32 or int8")
        return self.folder / self.graph.file

    @property
    def tokenizer_file(self) -> Path:
        """Path of the fast tokenizer, in the format of the ``tokenizers`` library."""
        return self.folder / TOKENIZER_FILE

    def token_limit(self, max_length: int) -> int:
        """Return the tokens after which a document is cut: ``max_length`` or the model's maximum, if less.

        Beyond that maximum, one runtime fails and another silently returns meaningless logits.
        """
        return max_length if self.max_positions is None else min(max_length, self.max_positions)

    @property
    def size_bytes(self) -> int:
        """Size of the weights on disk, in bytes."""
        return sum((self.folder / name).stat().st_size for name in self.weight_files)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Check a checkpoint folder without loading its weights.

    Loading checks later whether the weights fit the architecture.
    """
    if not folder.is_dir():
        raise CheckpointError(folder, found="no such folder", fix="give the folder that holds config.json")
    if (folder / GRAPH_FILE).is_file():
        return _open_graph(folder)
    refuse_adapter(folder)
    config = _read_config(folder)
    _refuse_quantization(folder, config)
    if not (folder / TOKENIZER_FILE).is_file():
        raise CheckpointError(
            folder,
            found=f"no {TOKENIZER_FILE}",
            fix="save the fast tokenizer next to the weights: tokenizer.save_pretrained(folder)",
        )
    weights = check_weights(folder)
    return Checkpoint(
        folder,
        _labels(folder, config),
        pad_token_id=_pad_token_id(folder, config),
        max_positions=read_max_positions(folder, config) or _count_positions(folder, config, weights),
        weight_files=weights.files,
        architecture=_read_architecture(folder, config),
        problem_type=_read_problem_type(folder, config),
        has_token_types=bool(_find(config, "type_vocab_size")) or config.get("model_type") in TYPED_MODELS,
        vocab_size=_read_vocab_size(folder, config),
    )


def _open_graph(folder: Path) -> Checkpoint:
    graph = load_graph(folder)
    files = (graph.file, *graph.data_files)
    for name in files:
        if not (folder / name).is_file():
            raise CheckpointError(folder, found=f"no {name}", fix="remove the folder")
    return Checkpoint(
        folder,
        graph.labels,
        pad_token_id=graph.pad_token_id,
        max_positions=graph.max_positions,
        weight_files=files,
        graph=graph,
    )


@dataclass(frozen=True)
class ConfigFacts:
    """What a configuration says about a model that is not a checkpoint of transformers.

    Attributes:
        labels: Label of each output; empty if none are named.
        pad_token_id: Token that fills shorter rows of a batch.
        max_positions: Most tokens that the model accepts; None if no maximum is set.
    """

    labels: tuple[str, ...] = ()
    pad_token_id: int = 0
    max_positions: int | None = None


def read_config(folder: Path) -> ConfigFacts:
    """Read what the ``config.json`` of a folder says about labels, padding and the longest text.

    Raises:
        CheckpointError: The file is broken.
    """
    config = _read_config(folder)
    return ConfigFacts(
        labels=_labels(folder, config) if config.get("id2label") is not None else (),
        pad_token_id=_pad_token_id(folder, config),
        max_positions=read_max_positions(folder, config),
    )


def read_labels(folder: Path) -> tuple[str, ...]:
    """Read the labels of a checkpoint's outputs from its ``config.json``, and nothing else.

    Raises:
        CheckpointError: The file is missing or broken, or names no labels.
    """
    return _labels(folder, _read_config(folder))


def open_verified_checkpoint(folder: Path, digest: str) -> Checkpoint:
    """Check the form of a checkpoint folder, then its content against the digest that the refit recorded.

    Raises:
        CheckpointError: The folder is not a checkpoint, or not this one.
    """
    checkpoint = open_checkpoint(folder)
    found = digest_as(digest, folder)
    if found != digest:
        raise CheckpointError(
            folder,
            found=f"its content has digest {shorten(found)}, the refit recorded {shorten(digest)}",
            fix="restore the checkpoint that was trained, or run the refit again",
        )
    return checkpoint


def _read_config(folder: Path) -> dict[str, Any]:
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


def refuse_adapter(folder: Path) -> None:
    """Refuse an adapter: whether transformers applies it depends on whether peft is installed.

    Raises:
        CheckpointError: The folder holds one.
    """
    adapter = next((name for name in ADAPTER_FILES if (folder / name).exists()), None)
    if adapter is not None:
        raise CheckpointError(
            folder,
            found=f"{adapter}, an adapter that may or may not be applied to the weights",
            fix="merge it and save the whole model into an empty folder: "
            "model.merge_and_unload().save_pretrained(folder)",
        )


def _refuse_quantization(folder: Path, config: Mapping[str, Any]) -> None:
    field = next((name for name in QUANTIZATION_FIELDS if _find(config, name) is not None), None)
    if field is not None:
        found = _find(config, field)
        method = found.get("quant_method") if isinstance(found, dict) else None
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the {field} {str(method or found)[:40]!r}",
            fix="dequantize the model and save it again; runtimes with int8 quantize it themselves",
        )


def _labels(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
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


def _read_architecture(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the first architecture that the configuration names, which is the class that saved it."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} names no architectures",
            fix="save the model with save_pretrained(), which names its class",
        )
    return names[0]


def _read_problem_type(folder: Path, config: Mapping[str, Any]) -> str | None:
    value = config.get("problem_type")
    if value is not None and value not in PROBLEM_TYPES:
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the problem_type {str(value)[:40]!r}",
            fix=f"set it to one of {', '.join(PROBLEM_TYPES)}",
        )
    return value


def _find(config: Mapping[str, Any], name: str) -> Any:
    """Return a field, also from the text model inside a model of several kinds of input; None without it."""
    value = config.get(name)
    inner = config.get("text_config")
    return inner.get(name) if value is None and isinstance(inner, dict) else value


def _pad_token_id(folder: Path, config: Mapping[str, Any]) -> int:
    value = _find(config, "pad_token_id")
    if value is None:
        return 0
    if not isinstance(value, int) or value < 0:
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the pad_token_id {str(value)[:40]!r}",
            fix="set it to the id of the tokenizer's padding token",
        )
    return value


def _read_vocab_size(folder: Path, config: Mapping[str, Any]) -> int | None:
    value = _find(config, "vocab_size")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the vocab_size {str(value)[:40]!r}",
            fix="set it to the number of rows of the token embeddings",
        )
    return value


def _count_positions(folder: Path, config: Mapping[str, Any], weights: WeightFiles) -> int | None:
    """Return the positions that the weights have rows for; None if no table of positions is found."""
    counts = [
        shape[0] - (N_PADDING_ROWS if name.endswith(PADDING_TABLE) else 0)
        for name, shape in weights.shapes.items()
        if POSITION_TABLES.search(name) and len(shape) == 2  # noqa: PLR2004 - rows and columns
    ]
    if not counts:
        return None
    return read_max_positions(folder, {**config, _position_field(config): min(counts)})


def read_max_positions(folder: Path, config: Mapping[str, Any]) -> int | None:
    """Return the most tokens that a model has positions for; None if its configuration sets no maximum.

    Args:
        folder: Checkpoint folder, for the message.
        config: Content of its ``config.json``.
    """
    name = _position_field(config)
    value = _find(config, name)
    if value is None:
        return None
    offset = 0
    if config.get("model_type") in OFFSET_MODELS:
        padding = config.get("pad_token_id")
        offset = (OFFSET_PAD_TOKEN_ID if padding is None else _pad_token_id(folder, config)) + 1
    if not isinstance(value, int) or isinstance(value, bool) or value <= offset:
        raise CheckpointError(
            folder,
            found=f"{CONFIG_FILE} has the {name} {str(value)[:40]!r}",
            fix="set it to the number of positions of the model",
        )
    return value - offset


def _position_field(config: Mapping[str, Any]) -> str:
    return POSITION_FIELDS.get(str(config.get("model_type")), "max_position_embeddings")
