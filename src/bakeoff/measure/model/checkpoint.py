"""Checks of a checkpoint folder before anything loads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bakeoff.disk.digest import digest_as, shorten
from bakeoff.errors import CheckpointError
from bakeoff.measure.model.graph import GRAPH_FILE, Graph, load_graph
from bakeoff.measure.model.model_config import (
    check_sizes,
    count_positions,
    find_field,
    read_architecture,
    read_config_file,
    read_label_names,
    read_max_positions,
    read_model_type,
    read_pad_token_id,
    read_problem_type,
    read_vocab_size,
    refuse_quantization,
)
from bakeoff.measure.model.safetensors import WEIGHTS_FILE, check_weights

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
# Models with token types, but without a table of them (type_vocab_size).
TYPED_MODELS = frozenset({"xlnet"})
Head = Literal["token_classification", "sequence_classification"]
# End of the class name of each head in transformers.
HEADS: dict[str, Head] = {
    "ForTokenClassification": "token_classification",
    "ForSequenceClassification": "sequence_classification",
}


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
        return find_head(self.architecture)

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


def find_head(architecture: str) -> Head | None:
    """Find the head of a class of transformers; None if no task of ours has it."""
    return next((head for name, head in HEADS.items() if architecture.endswith(name)), None)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Check a checkpoint folder without loading its weights.

    Loading checks later whether the weights fit the architecture.
    """
    if not folder.is_dir():
        raise CheckpointError(folder, found="no such folder", fix="give the folder that holds config.json")
    if (folder / GRAPH_FILE).is_file():
        return _open_graph(folder)
    refuse_adapter(folder)
    config = read_config_file(folder)
    refuse_quantization(folder, config)
    if not (folder / TOKENIZER_FILE).is_file():
        raise CheckpointError(
            folder,
            found=f"no {TOKENIZER_FILE}",
            fix="save the fast tokenizer next to the weights: tokenizer.save_pretrained(folder)",
        )
    weights = check_weights(folder)
    check_sizes(folder, config, weights)
    return Checkpoint(
        folder,
        read_label_names(folder, config),
        pad_token_id=read_pad_token_id(folder, config),
        max_positions=read_max_positions(folder, config) or count_positions(folder, config, weights),
        weight_files=weights.files,
        architecture=read_architecture(folder, config),
        problem_type=read_problem_type(folder, config),
        has_token_types=bool(find_field(config, "type_vocab_size"))
        or read_model_type(config) in TYPED_MODELS,
        vocab_size=read_vocab_size(folder, config),
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
    config = read_config_file(folder)
    return ConfigFacts(
        labels=read_label_names(folder, config) if config.get("id2label") is not None else (),
        pad_token_id=read_pad_token_id(folder, config),
        max_positions=read_max_positions(folder, config),
    )


def read_labels(folder: Path) -> tuple[str, ...]:
    """Read the labels of a checkpoint's outputs from its ``config.json``, and nothing else.

    Raises:
        CheckpointError: The file is missing or broken, or names no labels.
    """
    return read_label_names(folder, read_config_file(folder))


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
